import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;

/**
 * Fetches what has come since the last run, and keeps it: a file for each notification.
 *
 * <pre>
 * mvn dependency:copy-dependencies
 * TIDINGS_URL=http://127.0.0.1:8080 TIDINGS_KEY=… java -cp 'target/dependency/*' CatchUp.java archive
 * </pre>
 *
 * Run it as often as you like, and kill it whenever you like: the cursor moves only when all before it is kept.
 */
public class CatchUp {
    static final HttpClient HTTP = HttpClient.newHttpClient();
    static final ObjectMapper JSON = new ObjectMapper();

    /** The notifications behind a cursor, dismissed or not, oldest first. */
    static JsonNode page(String after) throws Exception {
        // %5B and %5D are the brackets of page[after] and filter[isDismissed].
        var query = "sort=sequence&page%5Bafter%5D=" + after + "&filter%5BisDismissed%5D=true,false";
        var url = URI.create(System.getenv("TIDINGS_URL") + "/api/rest/v1.0/notifications?" + query);
        var request = HttpRequest.newBuilder(url).header("x-api-key", System.getenv("TIDINGS_KEY")).build();
        var answer = HTTP.send(request, BodyHandlers.ofString());
        var document = JSON.readTree(answer.body());
        if (answer.statusCode() != 200) {
            throw new Exception(document.at("/errors/0/detail").asText());
        }
        return document;
    }

    /** Writes a file, all of it or nothing. */
    static void keep(Path path, String text) throws Exception {
        var temporary = Path.of(path + ".new");
        Files.writeString(temporary, text, StandardOpenOption.CREATE, StandardOpenOption.TRUNCATE_EXISTING,
                StandardOpenOption.WRITE, StandardOpenOption.SYNC);
        Files.move(temporary, path, StandardCopyOption.ATOMIC_MOVE);
    }

    public static void main(String[] arguments) throws Exception {
        var folder = Files.createDirectories(Path.of(arguments[0]));
        var cursor = folder.resolve("cursor");
        var after = Files.exists(cursor) ? Files.readString(cursor) : "0";
        JsonNode page;
        do {
            page = page(after);
            for (var notification : page.get("data")) {
                keep(folder.resolve(notification.get("id").asText() + ".json"), notification.toString());
            }
            after = page.at("/meta/page/after").asText();
            keep(cursor, after);
        } while (page.at("/links/next").isTextual());
        System.out.println("kept all up to " + after);
    }
}
