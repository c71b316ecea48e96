package schema

import (
	"encoding/binary"
	"strconv"
)

// Fields of the meta hashes: "DBs" lists the databases, "DB:<id>" the tables
// of one, among counters that are of no interest here.
const (
	hashDatabases  = "DBs"
	fieldDatabase  = "DB:"
	fieldTable     = "Table:"
	jobTableID     = 0x0000_FFFF_FFFF_FFFE // mysql.tidb_ddl_job
	jobColumn      = "job_meta"
	systemDatabase = "mysql"
)

// hashPrefix is what precedes the field in the keys of a meta hash.
func hashPrefix(name string) []byte {
	key := appendComparable([]byte{'m'}, []byte(name))
	return binary.BigEndian.AppendUint64(key, uint64('h'))
}

// hashKey is the key of one field of a meta hash.
func hashKey(name, field string) []byte {
	return appendComparable(hashPrefix(name), []byte(field))
}

// fieldRange covers the fields of a hash that begin with prefix.
func fieldRange(name, prefix string) (start, end []byte) {
	last := prefix[:len(prefix)-1] + string(prefix[len(prefix)-1]+1)
	return hashKey(name, prefix), hashKey(name, last)
}

// databaseHash is the name of the hash with the tables of a database.
func databaseHash(id int64) string { return fieldDatabase + strconv.FormatInt(id, 10) }

// groupSize is the number of bytes in a group of the memcomparable form.
const groupSize = 8

// appendComparable encodes bytes so that the encoded forms sort like the
// bytes: groups of 8, padded with zeros, each followed by 0xff minus the
// number of padding bytes.
func appendComparable(dst, b []byte) []byte {
	for len(b) >= groupSize {
		dst = append(append(dst, b[:groupSize]...), 0xff)
		b = b[groupSize:]
	}
	var group [groupSize]byte
	copy(group[:], b)
	return append(append(dst, group[:]...), byte(0xff-(groupSize-len(b))))
}
