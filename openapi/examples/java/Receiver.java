import com.fasterxml.jackson.databind.ObjectMapper;
import com.standardwebhooks.Webhook;
import com.standardwebhooks.exceptions.WebhookVerificationException;
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;

/**
 * Takes pushes, and keeps them: a file for each notification.
 *
 * <pre>
 * mvn dependency:copy-dependencies
 * TIDINGS_SECRET=whsec_… java -cp 'target/dependency/*' Receiver.java archive 9090
 * </pre>
 *
 * An answer of 204 says that the notification is safe here. Whatever isn't signed with the tenant's secret gets 401.
 */
public class Receiver {
    static int take(Webhook webhook, Path folder, HttpExchange request) throws Exception {
        var body = new String(request.getRequestBody().readAllBytes(), StandardCharsets.UTF_8);
        try {
            webhook.verify(body, request.getRequestHeaders());
        } catch (WebhookVerificationException refused) {
            return 401;
        }
        var notification = new ObjectMapper().readTree(body).get("data");
        var id = notification.get("id").asText();
        // A test of the settings comes with the id 0.
        if (!id.equals("0")) {
            Files.writeString(folder.resolve(id + ".json"), notification.toString(), StandardOpenOption.CREATE,
                    StandardOpenOption.TRUNCATE_EXISTING, StandardOpenOption.WRITE, StandardOpenOption.SYNC);
        }
        return 204;
    }

    public static void main(String[] arguments) throws Exception {
        var webhook = new Webhook(System.getenv("TIDINGS_SECRET"));
        var folder = Files.createDirectories(Path.of(arguments[0]));
        var server = HttpServer.create(new InetSocketAddress("127.0.0.1", Integer.parseInt(arguments[1])), 0);
        server.createContext("/", request -> {
            var status = 500;
            try {
                status = take(webhook, folder, request);
            } catch (Exception failure) {
                failure.printStackTrace();
            }
            request.sendResponseHeaders(status, -1);
            request.close();
        });
        server.start();
    }
}
