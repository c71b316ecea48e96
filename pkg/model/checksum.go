package model

// Checksum is the row checksum of the upstream, in the form that messages show:
// CRC-32 over the columns of a row.
type Checksum struct {
	Current   uint32 // of the new row; 0 for a delete
	Previous  uint32 // of the old row; 0 for an insert
	Corrupted bool   // the upstream's checksum did not fit the row
	Version   int    // of the upstream's checksum
}
