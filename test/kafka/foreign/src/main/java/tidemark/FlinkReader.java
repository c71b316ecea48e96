package tidemark;

import java.math.BigDecimal;
import java.time.LocalDate;
import java.time.LocalTime;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.apache.flink.api.common.functions.util.ListCollector;
import org.apache.flink.api.common.serialization.DeserializationSchema;
import org.apache.flink.formats.common.TimestampFormat;
import org.apache.flink.formats.json.canal.CanalJsonDeserializationSchema;
import org.apache.flink.formats.json.debezium.DebeziumJsonDeserializationSchema;
import org.apache.flink.formats.json.maxwell.MaxwellJsonDeserializationSchema;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.runtime.typeutils.InternalTypeInfo;
import org.apache.flink.table.types.DataType;
import org.apache.flink.table.types.logical.LogicalType;
import org.apache.flink.table.types.logical.RowType;
import org.apache.flink.table.types.logical.utils.LogicalTypeParser;
import org.apache.flink.table.types.utils.TypeConversions;

/** Reads with the formats of Apache Flink, as a table of the given columns. */
final class FlinkReader implements Main.Reader {
    private final RowType type;
    private final DeserializationSchema<RowData> format;

    /**
     * @param table name of the table; the messages of others are skipped where the format can
     * @param columns Flink's row type, such as ROW&lt;`id` INT, `v` STRING&gt;
     */
    FlinkReader(String name, String table, String columns) throws Exception {
        type = (RowType) LogicalTypeParser.parse(columns, FlinkReader.class.getClassLoader());
        DataType data = TypeConversions.fromLogicalToDataType(type);
        InternalTypeInfo<RowData> produced = InternalTypeInfo.of(type);
        switch (name) {
            case "canal-json":
                format = CanalJsonDeserializationSchema.builder(data, List.of(), produced)
                        .setTable(table)
                        .setTimestampFormat(TimestampFormat.SQL)
                        .build();
                break;
            case "debezium-json":
                format = new DebeziumJsonDeserializationSchema(data, List.of(), produced, true, false, TimestampFormat.ISO_8601);
                break;
            default:
                format = new MaxwellJsonDeserializationSchema(data, List.of(), produced, false, TimestampFormat.SQL);
        }
        format.open(null);
    }

    @Override
    public void read(byte[] key, byte[] value, Main.Sink sink) throws Exception {
        List<RowData> rows = new ArrayList<>();
        format.deserialize(value, new ListCollector<>(rows));
        for (RowData row : rows) {
            Map<String, String> out = new LinkedHashMap<>();
            for (int i = 0; i < type.getFieldCount(); i++) {
                LogicalType t = type.getTypeAt(i);
                out.put(type.getFieldNames().get(i), text(t, RowData.createFieldGetter(t, i).getFieldOrNull(row)));
            }
            sink.change(row.getRowKind().shortString(), out);
        }
    }

    private static String text(LogicalType type, Object value) {
        if (value == null) {
            return null;
        }
        switch (type.getTypeRoot()) {
            case DATE:
                return LocalDate.ofEpochDay((Integer) value).toString();
            case TIME_WITHOUT_TIME_ZONE:
                return LocalTime.ofNanoOfDay((Integer) value * 1_000_000L).toString();
            case DOUBLE:
                return new BigDecimal(value.toString()).stripTrailingZeros().toPlainString();
            default:
                return value.toString();
        }
    }
}
