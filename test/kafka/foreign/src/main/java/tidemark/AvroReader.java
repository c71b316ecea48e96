package tidemark;

import com.fasterxml.jackson.databind.ObjectMapper;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.ByteBuffer;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.Map;
import org.apache.avro.Conversions;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericData;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.io.DecoderFactory;

/** Reads with Apache Avro and the schemas that the registry keeps. */
final class AvroReader implements Main.Reader {
    private static final int MAGIC = 0;

    private final String registry;
    private final HttpClient http = HttpClient.newHttpClient();
    private final Map<Integer, Schema> schemas = new HashMap<>();
    private final GenericData model = new GenericData();

    AvroReader(String registry) {
        this.registry = registry;
        model.addLogicalTypeConversion(new Conversions.DecimalConversion());
    }

    @Override
    public void read(byte[] key, byte[] value, Main.Sink sink) throws Exception {
        if (value == null) {
            sink.change("-D", decode(key));
        } else {
            sink.change("+U", decode(value));
        }
    }

    private Map<String, String> decode(byte[] message) throws Exception {
        ByteBuffer head = ByteBuffer.wrap(message);
        if (head.get() != MAGIC) {
            throw new IllegalStateException("not the wire format of a schema registry");
        }
        Schema schema = schema(head.getInt());
        GenericRecord record = new GenericDatumReader<GenericRecord>(schema, schema, model)
                .read(null, DecoderFactory.get().binaryDecoder(message, head.position(), head.remaining(), null));
        Map<String, String> out = new LinkedHashMap<>();
        for (Schema.Field f : schema.getFields()) {
            out.put(f.name(), text(record.get(f.pos())));
        }
        return out;
    }

    private static String text(Object value) {
        if (value instanceof ByteBuffer) {
            byte[] bytes = new byte[((ByteBuffer) value).remaining()];
            ((ByteBuffer) value).get(bytes);
            StringBuilder hex = new StringBuilder("x");
            for (byte b : bytes) {
                hex.append(String.format("%02x", b));
            }
            return hex.toString();
        }
        if (value instanceof java.math.BigDecimal) {
            return ((java.math.BigDecimal) value).toPlainString();
        }
        return value == null ? null : value.toString();
    }

    private Schema schema(int id) throws Exception {
        Schema known = schemas.get(id);
        if (known != null) {
            return known;
        }
        HttpResponse<String> answer = http.send(
                HttpRequest.newBuilder(URI.create(registry + "/schemas/ids/" + id)).build(),
                HttpResponse.BodyHandlers.ofString());
        if (answer.statusCode() != 200) {
            throw new IllegalStateException("schema " + id + ": " + answer.body());
        }
        Schema schema = new Schema.Parser().parse(new ObjectMapper().readTree(answer.body()).get("schema").asText());
        schemas.put(id, schema);
        return schema;
    }
}
