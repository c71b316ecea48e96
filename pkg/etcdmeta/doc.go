// Package etcdmeta reads and writes the cluster's metadata in PD's etcd, in
// the layout of TiCDC 6.2 and later ("meta version 1"): captures, the election
// of the owner, changefeed infos and statuses, and upstreams. Every write that
// depends on what was read compares revisions; writes of the owner also
// compare the revision of its election key, so that an owner that lost its
// election cannot write any more.
package etcdmeta
