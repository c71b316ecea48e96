package server

import (
	"io/fs"
	"math"
	"path"
	"strconv"
	"strings"
)

// rowsPart is the part of the process's memory, one over this, that rows on
// their way may take. The rest is for what sinks make of them, for garbage and
// for everything that does not grow with the load.
const rowsPart = 2

// AvailableMemory returns the memory, in bytes, that this process can get:
// the machine's or, in a container that is given less, the container's. It
// reads Linux's files below root; 0 means that they tell nothing.
func AvailableMemory(root fs.FS) uint64 {
	least := uint64(math.MaxUint64)
	for _, file := range memoryFiles(root) {
		if n, ok := firstNumber(root, file); ok {
			least = min(least, n)
		}
	}
	if total, ok := totalMemory(root); ok {
		least = min(least, total)
	}
	if least == math.MaxUint64 {
		return 0
	}
	return least
}

// memoryFiles lists the limits of the control groups that this process is in,
// of both versions, whether or not they exist: its own, those around it, and
// the outermost one, which in a container is the container's.
func memoryFiles(root fs.FS) []string {
	text, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return nil
	}
	var files []string
	for _, line := range strings.Split(string(text), "\n") {
		part := strings.SplitN(line, ":", 3) // number:controllers:path
		if len(part) != 3 {
			continue
		}
		base, file := "sys/fs/cgroup", "memory.max"
		if part[1] == "memory" {
			base, file = "sys/fs/cgroup/memory", "memory.limit_in_bytes"
		} else if part[1] != "" {
			continue
		}
		for dir := path.Join("/", part[2]); ; dir = path.Dir(dir) {
			files = append(files, path.Join(base, dir, file))
			if dir == "/" {
				break
			}
		}
	}
	return files
}

// firstNumber reads a file that has one number; "max" and whatever else is none.
func firstNumber(root fs.FS, file string) (uint64, bool) {
	text, err := fs.ReadFile(root, file)
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	return n, err == nil && n > 0
}

func totalMemory(root fs.FS) (uint64, bool) {
	text, err := fs.ReadFile(root, "proc/meminfo")
	if err != nil {
		return 0, false
	}
	for _, line := range strings.Split(string(text), "\n") {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "MemTotal:" && f[2] == "kB" {
			n, err := strconv.ParseUint(f[1], 10, 54)
			return n << 10, err == nil
		}
	}
	return 0, false
}
