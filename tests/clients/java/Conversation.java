import com.fasterxml.jackson.databind.ObjectMapper;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import tidings.ApiClient;
import tidings.ApiException;
import tidings.api.NotificationsApi;
import tidings.api.NotificationsApi.*;
import tidings.model.*;

/** What a program in Java says to the server through the client that openapi-generator has made. */
class Conversation {
    interface Call {
        void run() throws ApiException;
    }

    static final NotificationsApi API;

    static {
        var client = new ApiClient();
        client.updateBaseUri(System.getenv("TIDINGS_URL"));
        client.setRequestInterceptor(request -> request.header("x-api-key", System.getenv("TIDINGS_KEY")));
        API = new NotificationsApi(client);
    }

    static EventData event(String type) {
        var user = new EventRelationship().data(new Identifier().type("user").id("100"));
        return new EventData()
                .type("notification")
                .attributes(new EventAttributes().type(type).comment("from Java"))
                .relationships(new EventRelationships().createdBy(user));
    }

    static String post(String type, String key) throws ApiException {
        var user = new RawResource().type(RawResource.TypeEnum.USER).id("100");
        var document = new EventDocument().data(event(type)).addIncludedItem(user);
        var request = APIPostNotificationRequest.newBuilder().eventDocument(document).idempotencyKey(key).build();
        return API.postNotification(request).getData().getId();
    }

    static FlagsData flags(String id, Flags flags) {
        return new FlagsData().type("notification").id(id).attributes(flags);
    }

    /** The first error of a refusal, by its type. */
    static ErrorObject refusal(Call call) throws Exception {
        try {
            call.run();
        } catch (ApiException refused) {
            var json = ApiClient.createDefaultObjectMapper();
            return json.readValue(refused.getResponseBody(), ErrorDocument.class).getErrors().get(0);
        }
        throw new AssertionError("not refused");
    }

    public static void main(String[] arguments) throws Exception {
        var said = new LinkedHashMap<String, Object>();

        // Posts, one of them twice.
        var posted = new ArrayList<String>();
        for (var type : List.of("close", "print", "close", "print", "close")) {
            posted.add(post(type, "post-" + posted.size()));
        }
        said.put("posted", posted);
        said.put("repeated", post("close", "post-0"));

        // Lists by filter and cursor to the end.
        var listed = new ArrayList<String>();
        NotificationPage page;
        var after = "0";
        do {
            page = API.listNotifications(APIListNotificationsRequest.newBuilder()
                    .filterType("close").sort("sequence").pageSize(2).pageAfter(after).build());
            page.getData().forEach(notification -> listed.add(notification.getId()));
            after = page.getMeta().getPage().getAfter();
        } while (page.getLinks().getNext() != null);
        said.put("listed", listed);

        // Changes a flag.
        var first = posted.get(0);
        var patch = new FlagsDocument(new JsonApiFlags().data(flags(first, new Flags().isRead(true))));
        var patched = API.patchNotification(APIPatchNotificationRequest.newBuilder()
                .id(first).flagsDocument(patch).build());
        said.put("isRead", patched.getData().getAttributes().getIsRead());

        // Does two things at once.
        var add = new AddOperation().op(AddOperation.OpEnum.ADD).data(event("sign"));
        var update = new UpdateOperation().op(UpdateOperation.OpEnum.UPDATE)
                .data(flags(posted.get(1), new Flags().isFlagged(true)));
        var operations = new OperationsDocument()
                .addAtomicOperationsItem(new Operation(add))
                .addAtomicOperationsItem(new Operation(update));
        var results = API.postOperations(APIPostOperationsRequest.newBuilder()
                .operationsDocument(operations).build()).getAtomicResults();
        said.put("added", results.get(0).getData().getId());
        said.put("isFlagged", results.get(1).getData().getAttributes().getIsFlagged());

        // Is refused.
        var error = refusal(() -> API.listNotifications(APIListNotificationsRequest.newBuilder().pageAfter("somewhere").build()));
        said.put("refused", List.of(error.getCode().getValue(), error.getSource().getParameter()));
        error = refusal(() -> API.getNotification(APIGetNotificationRequest.newBuilder().id("1000").build()));
        said.put("unknown", List.of(error.getStatus(), error.getCode().getValue()));

        System.out.println(new ObjectMapper().writeValueAsString(said));
    }
}
