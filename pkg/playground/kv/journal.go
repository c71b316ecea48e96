package kv

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
)

// journal is an append-only file of checksummed records. What append has returned for survives the end of the
// process in whatever way; it is not flushed to the disk, so not a loss of power.
type journal struct {
	path string
	file *os.File
	size int64
	buf  []byte
}

const (
	journalHeader    = 8 // length and CRC, both 32 bits
	journalRecordMax = 1 << 30
)

// openJournal calls replay with each complete record, in order, and cuts off a torn tail. The record is valid during
// the call only.
func openJournal(path string, replay func(record []byte) error) (*journal, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	size, err := readRecords(file, replay)
	if err == nil {
		err = file.Truncate(size)
	}
	if err == nil {
		_, err = file.Seek(size, io.SeekStart)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read %s: %w", path, err), file.Close())
	}
	return &journal{path: path, file: file, size: size}, nil
}

// readRecords returns the offset behind the last complete record.
func readRecords(file io.Reader, replay func(record []byte) error) (int64, error) {
	r := bufio.NewReaderSize(file, 1<<20)
	var header [journalHeader]byte
	var record []byte
	var size int64
	for {
		if _, err := io.ReadFull(r, header[:]); err != nil {
			return size, ignoreEOF(err)
		}
		n := int(binary.LittleEndian.Uint32(header[:]))
		if n > journalRecordMax {
			return size, nil
		}
		if cap(record) < n {
			record = make([]byte, n)
		}
		record = record[:n]
		if _, err := io.ReadFull(r, record); err != nil {
			return size, ignoreEOF(err)
		}
		if crc32.ChecksumIEEE(record) != binary.LittleEndian.Uint32(header[4:]) {
			return size, nil
		}
		if err := replay(record); err != nil {
			return size, err
		}
		size += journalHeader + int64(n)
	}
}

func ignoreEOF(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return nil
	}
	return err
}

// begin starts a record: the caller appends its bytes to the result and hands that to append.
func (j *journal) begin() []byte {
	return append(j.buf[:0], make([]byte, journalHeader)...)
}

// append writes one record that was started by begin. The record is in the file entirely or, after a kill or an
// error, not at all.
func (j *journal) append(record []byte) error {
	j.buf = record[:0]
	sealRecord(record)
	if _, err := j.file.Write(record); err != nil {
		// Whatever part of it was written must not stand before later records.
		return errors.Join(err, j.file.Truncate(j.size), seek(j.file, j.size))
	}
	j.size += int64(len(record))
	return nil
}

func sealRecord(record []byte) {
	body := record[journalHeader:]
	binary.LittleEndian.PutUint32(record, uint32(len(body)))
	binary.LittleEndian.PutUint32(record[4:], crc32.ChecksumIEEE(body))
}

func seek(f *os.File, offset int64) error {
	_, err := f.Seek(offset, io.SeekStart)
	return err
}

// rewrite replaces the whole journal by the records that write emits. On error the journal stays as it was.
func (j *journal) rewrite(write func(emit func(body []byte) error) error) (err error) {
	tmp, err := os.OpenFile(j.path+".tmp", os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, tmp.Close(), os.Remove(j.path+".tmp"))
		}
	}()
	w := bufio.NewWriterSize(tmp, 1<<20)
	var size int64
	var record []byte
	emit := func(body []byte) error {
		record = append(append(record[:0], make([]byte, journalHeader)...), body...)
		sealRecord(record)
		size += int64(len(record))
		_, err := w.Write(record)
		return err
	}
	if err = write(emit); err != nil {
		return err
	}
	if err = w.Flush(); err != nil {
		return err
	}
	if err = os.Rename(j.path+".tmp", j.path); err != nil {
		return err
	}
	old := j.file
	j.file, j.size = tmp, size
	return old.Close()
}

func (j *journal) close() error { return j.file.Close() }
