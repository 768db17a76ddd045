// What a program in Go says to the server through the client that openapi-generator has made.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net/http"
	"os"

	"conversation/tidings"
)

func must[T any](value T, _ *http.Response, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}

// The first error of a refusal, by its type.
func refusal(err error) tidings.ErrorObject {
	var refused *tidings.GenericOpenAPIError
	if !errors.As(err, &refused) {
		log.Fatalf("not refused: %v", err)
	}
	return refused.Model().(tidings.ErrorDocument).Errors[0]
}

func event(kind string) tidings.EventData {
	attributes := tidings.NewEventAttributes(kind)
	attributes.SetComment("from Go")
	user := tidings.NewEventRelationship(*tidings.NewIdentifier("100", "user"))
	data := tidings.NewEventData(*attributes, "notification")
	data.SetRelationships(tidings.EventRelationships{CreatedBy: *tidings.NewNullableEventRelationship(user)})
	return *data
}

func main() {
	configuration := tidings.NewConfiguration()
	configuration.Servers = tidings.ServerConfigurations{{URL: os.Getenv("TIDINGS_URL")}}
	api := tidings.NewAPIClient(configuration).NotificationsAPI
	ctx := context.WithValue(context.Background(), tidings.ContextAPIKeys, map[string]tidings.APIKey{
		"tenantKey": {Key: os.Getenv("TIDINGS_KEY")},
	})
	said := map[string]any{}

	// Posts, one of them twice.
	post := func(kind, key string) string {
		document := tidings.NewEventDocument(event(kind))
		document.SetIncluded([]tidings.RawResource{*tidings.NewRawResource("100", "user")})
		answer := must(api.PostNotification(ctx).EventDocument(*document).IdempotencyKey(key).Execute())
		return answer.Data.Get().Id
	}
	posted := []string{}
	for n, kind := range []string{"close", "print", "close", "print", "close"} {
		posted = append(posted, post(kind, fmt.Sprintf("post-%d", n)))
	}
	said["posted"] = posted
	said["repeated"] = post("close", "post-0")

	// Lists by filter and cursor to the end.
	listed, after := []string{}, "0"
	for {
		page := must(api.ListNotifications(ctx).FilterType("close").Sort("sequence").PageSize(2).PageAfter(after).Execute())
		for _, notification := range page.Data {
			listed = append(listed, notification.Id)
		}
		after = page.Meta.Get().Page.Get().After
		if page.Links.Next.Get() == nil {
			break
		}
	}
	said["listed"] = listed

	// Changes a flag.
	flags := tidings.NewFlagsData(*tidings.NewFlags(), posted[0], "notification")
	flags.Attributes.SetIsRead(true)
	patch := tidings.JsonApiFlagsAsFlagsDocument(tidings.NewJsonApiFlags(*flags))
	patched := must(api.PatchNotification(ctx, posted[0]).FlagsDocument(patch).Execute())
	said["isRead"] = patched.Data.Attributes.IsRead

	// Does two things at once.
	flags = tidings.NewFlagsData(*tidings.NewFlags(), posted[1], "notification")
	flags.Attributes.SetIsFlagged(true)
	operations := tidings.NewOperationsDocument([]tidings.Operation{
		tidings.AddOperationAsOperation(tidings.NewAddOperation(event("sign"), "add")),
		tidings.UpdateOperationAsOperation(tidings.NewUpdateOperation(*flags, "update")),
	})
	results := must(api.PostOperations(ctx).OperationsDocument(*operations).Execute()).AtomicResults
	said["added"] = results[0].Data.Get().Id
	said["isFlagged"] = results[1].Data.Get().Attributes.IsFlagged

	// Is refused.
	_, _, err := api.ListNotifications(ctx).PageAfter("somewhere").Execute()
	error := refusal(err)
	said["refused"] = []any{error.Code, error.Source.Get().GetParameter()}
	_, _, err = api.GetNotification(ctx, "1000").Execute()
	error = refusal(err)
	said["unknown"] = []any{error.Status, error.Code}

	if err := json.NewEncoder(os.Stdout).Encode(said); err != nil {
		log.Fatal(err)
	}
}
