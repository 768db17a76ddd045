// Fetches what has come since the last run, and keeps it: a file for each notification.
//
//	TIDINGS_URL=http://127.0.0.1:8080 TIDINGS_KEY=… go run ./catch_up archive
//
// Run it as often as you like, and kill it whenever you like: the cursor moves only when all before it is kept.
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
)

// Page is what the example needs of a page. Whatever else is in a notification is kept as it is.
type Page struct {
	Data  []json.RawMessage
	Links struct{ Next *string }
	Meta  struct{ Page struct{ After string } }
}

// Lists the notifications behind a cursor, dismissed or not, oldest first.
func list(after string) (page Page, err error) {
	query := url.Values{"sort": {"sequence"}, "page[after]": {after}, "filter[isDismissed]": {"true,false"}}
	request, err := http.NewRequest("GET", os.Getenv("TIDINGS_URL")+"/api/rest/v1.0/notifications?"+query.Encode(), nil)
	if err != nil {
		return page, err
	}
	request.Header.Set("x-api-key", os.Getenv("TIDINGS_KEY"))
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return page, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		var refused struct{ Errors []struct{ Detail string } }
		err = json.NewDecoder(answer.Body).Decode(&refused)
		return page, fmt.Errorf("%s: %v %v", answer.Status, refused.Errors, err)
	}
	return page, json.NewDecoder(answer.Body).Decode(&page)
}

// Writes a file, all of it or nothing.
func keep(path string, text []byte) error {
	file, err := os.Create(path + ".new")
	if err != nil {
		return err
	}
	defer file.Close()
	if _, err = file.Write(text); err != nil {
		return err
	}
	if err = file.Sync(); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

func catchUp(folder string) (after string, err error) {
	if err = os.MkdirAll(folder, 0o755); err != nil {
		return after, err
	}
	cursor := filepath.Join(folder, "cursor")
	kept, err := os.ReadFile(cursor)
	if os.IsNotExist(err) {
		kept, err = []byte("0"), nil
	}
	after = string(kept)
	for more := true; more && err == nil; {
		var page Page
		if page, err = list(after); err != nil {
			return after, err
		}
		for _, notification := range page.Data {
			var resource struct{ Id string }
			if err = json.Unmarshal(notification, &resource); err != nil {
				return after, err
			}
			if err = keep(filepath.Join(folder, resource.Id+".json"), notification); err != nil {
				return after, err
			}
		}
		after = page.Meta.Page.After
		err = keep(cursor, []byte(after))
		more = page.Links.Next != nil
	}
	return after, err
}

func main() {
	after, err := catchUp(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("kept all up to", after)
}
