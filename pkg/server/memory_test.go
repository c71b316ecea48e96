package server

import (
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
)

func TestAvailableMemory(t *testing.T) {
	const machine = "MemFree:  5 kB\nMemTotal:       1024 kB\n"
	for _, test := range []struct {
		name  string
		files map[string]string
		want  uint64
	}{
		{"nothing is told", nil, 0},
		{"machine", map[string]string{"proc/meminfo": machine}, 1 << 20},
		{"no number", map[string]string{"proc/meminfo": "MemTotal: much kB\n"}, 0},
		{"version 2, no limit", map[string]string{
			"proc/meminfo": machine, "proc/self/cgroup": "0::/a/b\n",
			"sys/fs/cgroup/a/b/memory.max": "max\n",
		}, 1 << 20},
		{"version 2, the group around", map[string]string{
			"proc/meminfo": machine, "proc/self/cgroup": "0::/a/b\n",
			"sys/fs/cgroup/a/b/memory.max": "5000\n", "sys/fs/cgroup/a/memory.max": "4000\n",
		}, 4000},
		{"version 2, in a container", map[string]string{
			"proc/meminfo": machine, "proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "3000\n",
		}, 3000},
		{"more than the machine has", map[string]string{
			"proc/meminfo": machine, "proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "30000000\n",
		}, 1 << 20},
		{"version 1", map[string]string{
			"proc/meminfo": machine, "proc/self/cgroup": "2:cpu:/x\n4:memory:/docker/1\nbroken\n",
			"sys/fs/cgroup/memory/docker/1/memory.limit_in_bytes": "2000\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes":          "9223372036854771712\n",
			"sys/fs/cgroup/memory/x/memory.limit_in_bytes":        "1\n",
		}, 2000},
	} {
		t.Run(test.name, func(t *testing.T) {
			root := fstest.MapFS{}
			for name, text := range test.files {
				root[name] = &fstest.MapFile{Data: []byte(text)}
			}
			require.Equal(t, test.want, AvailableMemory(root))
		})
	}
}
