package tidemark;

import com.alibaba.otter.canal.protocol.CanalEntry;
import com.alibaba.otter.canal.protocol.CanalPacket;
import com.google.protobuf.ByteString;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** Reads with the protobuf classes that Alibaba Canal publishes. */
final class CanalReader implements Main.Reader {
    private final String table;

    CanalReader(String table) {
        this.table = table;
    }

    @Override
    public void read(byte[] key, byte[] value, Main.Sink sink) throws Exception {
        CanalPacket.Packet packet = CanalPacket.Packet.parseFrom(value);
        if (packet.getType() != CanalPacket.PacketType.MESSAGES) {
            throw new IllegalStateException("packet of type " + packet.getType());
        }
        for (ByteString bytes : CanalPacket.Messages.parseFrom(packet.getBody()).getMessagesList()) {
            CanalEntry.Entry entry = CanalEntry.Entry.parseFrom(bytes);
            CanalEntry.RowChange change = CanalEntry.RowChange.parseFrom(entry.getStoreValue());
            if (change.getIsDdl() || !entry.getHeader().getTableName().equals(table)) {
                continue;
            }
            for (CanalEntry.RowData row : change.getRowDatasList()) {
                if (change.getEventType() != CanalEntry.EventType.INSERT) {
                    String op = change.getEventType() == CanalEntry.EventType.DELETE ? "-D" : "-U";
                    sink.change(op, columns(row.getBeforeColumnsList()));
                }
                if (change.getEventType() != CanalEntry.EventType.DELETE) {
                    String op = change.getEventType() == CanalEntry.EventType.INSERT ? "+I" : "+U";
                    sink.change(op, columns(row.getAfterColumnsList()));
                }
            }
        }
    }

    private static Map<String, String> columns(List<CanalEntry.Column> columns) {
        Map<String, String> out = new LinkedHashMap<>();
        for (CanalEntry.Column c : columns) {
            out.put(c.getName(), c.getIsNull() ? null : c.getValue());
        }
        return out;
    }
}
