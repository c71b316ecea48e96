package tidemark;

import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/**
 * Reads a topic from start to present end, and prints each change as a line of JSON:
 * {"op":"+I","row":{"column":"text or null"}}, with the operations of Flink.
 *
 * <p>Arguments: format, broker, topic, then what the format's reader wants.
 */
public final class Main {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final PrintStream OUT = new PrintStream(System.out, false, StandardCharsets.UTF_8);

    private Main() {}

    /** Takes one change; values are text or null. */
    interface Sink {
        void change(String op, Map<String, String> row) throws Exception;
    }

    /** Understands the messages of one protocol. */
    interface Reader {
        void read(byte[] key, byte[] value, Sink sink) throws Exception;
    }

    public static void main(String[] args) throws Exception {
        Reader reader = reader(args);
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(args[1])) {
            List<TopicPartition> partitions = new ArrayList<>();
            consumer.partitionsFor(args[2]).forEach(p -> partitions.add(new TopicPartition(p.topic(), p.partition())));
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            Map<TopicPartition, Long> open = new HashMap<>(consumer.endOffsets(partitions));
            while (true) {
                open.entrySet().removeIf(e -> consumer.position(e.getKey()) >= e.getValue());
                if (open.isEmpty()) {
                    break;
                }
                for (ConsumerRecord<byte[], byte[]> r : consumer.poll(Duration.ofMillis(200))) {
                    reader.read(r.key(), r.value(), Main::print);
                }
            }
        }
        OUT.flush();
    }

    private static Reader reader(String[] args) throws Exception {
        switch (args[0]) {
            case "canal-json":
            case "debezium-json":
            case "maxwell-json":
                return new FlinkReader(args[0], args[3], args[4]);
            case "canal":
                return new CanalReader(args[3]);
            case "avro":
                return new AvroReader(args[3]);
            default:
                throw new IllegalArgumentException(args[0]);
        }
    }

    private static KafkaConsumer<byte[], byte[]> consumer(String broker) {
        Map<String, Object> config = new HashMap<>();
        config.put("bootstrap.servers", broker);
        config.put("enable.auto.commit", false);
        return new KafkaConsumer<>(config, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    private static void print(String op, Map<String, String> row) throws Exception {
        Map<String, Object> line = new LinkedHashMap<>();
        line.put("op", op);
        line.put("row", row);
        OUT.println(JSON.writeValueAsString(line));
    }
}
