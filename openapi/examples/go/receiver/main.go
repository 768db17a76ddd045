// Takes pushes, and keeps them: a file for each notification.
//
//	TIDINGS_SECRET=whsec_… go run ./receiver archive 9090
//
// An answer of 204 says that the notification is safe here. Whatever isn't signed with the tenant's secret gets 401.
package main

import (
	"encoding/json"
	"io"
	"log"
	"net/http"
	"os"
	"path/filepath"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

func keep(path string, text []byte) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer file.Close()
	if _, err = file.Write(text); err != nil {
		return err
	}
	return file.Sync()
}

func main() {
	folder, port := os.Args[1], os.Args[2]
	if err := os.MkdirAll(folder, 0o755); err != nil {
		log.Fatal(err)
	}
	webhook, err := standardwebhooks.NewWebhook(os.Getenv("TIDINGS_SECRET"))
	if err != nil {
		log.Fatal(err)
	}
	http.HandleFunc("POST /", func(answer http.ResponseWriter, request *http.Request) {
		body, err := io.ReadAll(request.Body)
		if err != nil || webhook.Verify(body, request.Header) != nil {
			answer.WriteHeader(http.StatusUnauthorized)
			return
		}
		var pushed struct{ Data json.RawMessage }
		var resource struct{ Id string }
		if err = json.Unmarshal(body, &pushed); err == nil {
			err = json.Unmarshal(pushed.Data, &resource)
		}
		// A test of the settings comes with the id 0.
		if err == nil && resource.Id != "0" {
			err = keep(filepath.Join(folder, resource.Id+".json"), pushed.Data)
		}
		if err != nil {
			log.Print(err)
			answer.WriteHeader(http.StatusInternalServerError)
			return
		}
		answer.WriteHeader(http.StatusNoContent)
	})
	log.Fatal(http.ListenAndServe("127.0.0.1:"+port, nil))
}
