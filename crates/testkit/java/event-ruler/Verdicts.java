import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import software.amazon.event.ruler.Machine;

/**
 * What event-ruler says. A line of the input is a JSON array of two texts, a pattern and an event; a line of the output
 * is its verdict: true, false, RULE_ERR (it is no pattern) or EVENT_ERR (it is no event).
 */
public class Verdicts {
  public static void main(String[] arguments) throws Exception {
    ObjectMapper json = new ObjectMapper();
    BufferedReader pairs = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    PrintStream verdicts = new PrintStream(System.out, false, "UTF-8");
    for (String line = pairs.readLine(); line != null; line = pairs.readLine()) {
      JsonNode pair = json.readTree(line);
      verdicts.println(verdict(pair.get(0).asText(), pair.get(1).asText()));
    }
    verdicts.flush();
  }

  private static String verdict(String pattern, String event) {
    Machine machine = new Machine();
    try {
      machine.addRule("pattern", pattern);
    } catch (Exception refused) {
      return "RULE_ERR";
    }
    try {
      return machine.rulesForJSONEvent(event).isEmpty() ? "false" : "true";
    } catch (Exception refused) {
      return "EVENT_ERR";
    }
  }
}
