package main

import (
	_ "github.com/BurntSushi/toml"
	_ "github.com/cockroachdb/pebble"
	_ "github.com/gin-gonic/gin"
	_ "github.com/go-sql-driver/mysql"
	_ "github.com/google/uuid"
	_ "github.com/pingcap/badger"
	_ "github.com/pingcap/kvproto/pkg/cdcpb"
	_ "github.com/pingcap/tidb/pkg/domain"
	_ "github.com/pingcap/tidb/pkg/server"
	_ "github.com/pingcap/tidb/pkg/session"
	_ "github.com/pingcap/tidb/pkg/store/mockstore/unistore"
	_ "github.com/pingcap/tidb/pkg/util/table-filter"
	_ "github.com/prometheus/client_golang/prometheus/promhttp"
	_ "github.com/spf13/cobra"
	_ "github.com/tikv/client-go/v2/tikv"
	_ "github.com/tikv/pd/client"
	_ "go.etcd.io/etcd/client/v3"
	_ "go.etcd.io/etcd/server/v3/embed"
	_ "go.uber.org/zap"
	_ "golang.org/x/sync/errgroup"
	_ "google.golang.org/grpc"
)

func main() {}
