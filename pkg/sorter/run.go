package sorter

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"os"
	"sync/atomic"

	"github.com/cockroachdb/pebble/sstable"

	"github.com/tidemark/tidemark/pkg/model"
)

const (
	blockSize      = 32 << 10
	indexBlockSize = 512 << 10
	writeBuffer    = 256 << 10

	// prefixLen is the length of a disk key before the row's own key: span,
	// commit-ts, start-ts and rank.
	prefixLen = 8 + 8 + 8 + 1
)

// appendDiskKey builds the key under which a row is stored. Keys of one span
// are in the order of compareRows.
func appendDiskKey(dst []byte, span uint64, c *model.RawChange) []byte {
	rank := byte(2)
	switch {
	case c.IsDelete():
		rank = 0
	case c.IsUpdate():
		rank = 1
	}
	dst = binary.BigEndian.AppendUint64(dst, span)
	dst = binary.BigEndian.AppendUint64(dst, c.CommitTs)
	dst = binary.BigEndian.AppendUint64(dst, c.StartTs)
	dst = append(dst, rank)
	return append(dst, c.Key()...)
}

// appendDiskValue builds the stored value: the length of the new value, the
// new value and the old value.
func appendDiskValue(dst []byte, c *model.RawChange) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(c.Value())))
	dst = append(dst, c.Value()...)
	return append(dst, c.OldValue()...)
}

// decodeRow reads a stored row into rec, whose length is what recordLen tells.
func decodeRow(key, value, rec []byte) (model.RawChange, error) {
	n, head := binary.Uvarint(value)
	if len(key) < prefixLen || head <= 0 || n > uint64(len(value)-head) {
		return model.RawChange{}, fmt.Errorf("sorter: broken row of %d and %d bytes on disk", len(key), len(value))
	}
	keyLen, valueLen := len(key)-prefixLen, int(n)
	copy(rec, key[prefixLen:])
	copy(rec[keyLen:], value[head:])
	oldLen := len(value) - head - valueLen
	return model.RawChangeAt(binary.BigEndian.Uint64(key[16:]), binary.BigEndian.Uint64(key[8:]),
		rec, 0, keyLen, keyLen, valueLen, keyLen+valueLen, oldLen), nil
}

// recordLen is the room that decodeRow needs.
func recordLen(key, value []byte) int {
	_, head := binary.Uvarint(value)
	return max(0, len(key)-prefixLen) + len(value) - max(0, head)
}

// runFile is a file with the sorted runs of one or several spans, in pebble's
// table format. It is removed when the last run is dropped.
type runFile struct {
	engine *Engine
	path   string
	size   int64
	runs   atomic.Int32
	reader *sstable.Reader
}

func (f *runFile) release() {
	if f.runs.Add(-1) > 0 {
		return
	}
	_ = f.reader.Close()
	_ = os.Remove(f.path)
	f.engine.onDisk(-f.size)
}

// runWriter writes one runFile.
type runWriter struct {
	file  *runFile
	table *sstable.Writer
	key   []byte
	value []byte
}

func (e *Engine) createRun() (*runWriter, error) {
	if err := os.MkdirAll(e.cfg.Dir, 0o700); err != nil {
		return nil, err
	}
	path := fmt.Sprintf("%s/%08d.sst", e.cfg.Dir, e.nextFile.Add(1))
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	return &runWriter{
		file: &runFile{engine: e, path: path},
		table: sstable.NewWriter(&unsyncedFile{file: f, buf: bufio.NewWriterSize(f, writeBuffer)}, sstable.WriterOptions{
			BlockSize: blockSize, IndexBlockSize: indexBlockSize, Compression: sstable.NoCompression,
		}),
	}, nil
}

// add appends one row; rows come in order of span and compareRows.
func (w *runWriter) add(span uint64, c *model.RawChange) error {
	w.key = appendDiskKey(w.key[:0], span, c)
	w.value = appendDiskValue(w.value[:0], c)
	return w.table.Set(w.key, w.value)
}

// finish makes the file readable. After an error the file is gone.
func (w *runWriter) finish() (*runFile, error) {
	err := w.table.Close()
	if err != nil {
		_ = os.Remove(w.file.path)
		return nil, err
	}
	f, err := os.Open(w.file.path)
	if err != nil {
		_ = os.Remove(w.file.path)
		return nil, err
	}
	readable, err := sstable.NewSimpleReadable(f)
	if err == nil {
		w.file.size = readable.Size()
		w.file.reader, err = sstable.NewReader(readable, sstable.ReaderOptions{})
	}
	if err != nil {
		_ = f.Close()
		_ = os.Remove(w.file.path)
		return nil, err
	}
	w.file.engine.onDisk(w.file.size)
	return w.file, nil
}

// abort drops a file that could not be written to its end.
func (w *runWriter) abort() {
	_ = w.table.Close()
	_ = os.Remove(w.file.path)
}

// unsyncedFile is a table file that need not survive the process.
type unsyncedFile struct {
	file *os.File
	buf  *bufio.Writer
}

func (f *unsyncedFile) Write(p []byte) error {
	_, err := f.buf.Write(p)
	return err
}

func (f *unsyncedFile) Finish() error {
	err := f.buf.Flush()
	if closeErr := f.file.Close(); err == nil {
		err = closeErr
	}
	return err
}

func (f *unsyncedFile) Abort() { _ = f.file.Close() }

// diskRun is the sorted run of one span in a file, and the place up to which
// it was read.
type diskRun struct {
	file *runFile
	next uint64 // commit-ts of the next row

	iter   sstable.Iterator // nil while not being read
	key    []byte           // of the next row; its own memory while iter is nil
	value  []byte           // of the next row, while iter is set
	bounds [2][]byte
}

// newDiskRun makes the run whose first row has the given key. It is as good
// as read up to there.
func newDiskRun(f *runFile, span uint64, first []byte) *diskRun {
	f.runs.Add(1)
	return &diskRun{
		file: f, next: binary.BigEndian.Uint64(first[8:]), key: first,
		bounds: [2][]byte{first, binary.BigEndian.AppendUint64(nil, span+1)},
	}
}

// open positions the run at its next row.
func (r *diskRun) open() error {
	if r.iter != nil {
		return nil
	}
	iter, err := r.file.reader.NewIter(r.bounds[0], r.bounds[1])
	if err != nil {
		return err
	}
	r.iter = iter
	k, v := iter.SeekGE(r.key, 0)
	if k == nil {
		return r.end()
	}
	return r.at(k.UserKey, v.InPlaceValue())
}

func (r *diskRun) at(key, value []byte) error {
	r.key, r.value = key, value
	r.next = binary.BigEndian.Uint64(key[8:])
	return nil
}

// advance goes to the next row. At the end the key is nil.
func (r *diskRun) advance() error {
	k, v := r.iter.Next()
	if k == nil {
		return r.end()
	}
	return r.at(k.UserKey, v.InPlaceValue())
}

func (r *diskRun) end() error {
	r.key, r.value = nil, nil
	return r.iter.Error()
}

// rest closes the iterator and remembers the place.
func (r *diskRun) rest() {
	if r.iter == nil {
		return
	}
	r.key = append([]byte(nil), r.key...)
	r.value = nil
	_ = r.iter.Close()
	r.iter = nil
}

// drop ends the use of the run.
func (r *diskRun) drop() {
	if r.iter != nil {
		_ = r.iter.Close()
		r.iter = nil
	}
	r.file.release()
}
