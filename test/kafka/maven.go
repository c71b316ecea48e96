package kafka

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// projects are the Maven projects: each in a folder with its pom.xml.
//
//go:embed all:broker all:foreign
var projects embed.FS

// classpath builds one of the Maven projects, unless the same one was built
// before, and returns a class path of it with everything it depends on. What
// was built is kept in the user's cache folder, under a name made of the
// project's content.
func classpath(ctx context.Context, project string) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	sum, err := contentSum(project)
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "tidemark", "kafka-"+project+"-"+sum)
	path := filepath.Join(dir, "*") + string(filepath.ListSeparator) + filepath.Join(dir, "lib", "*")
	if _, err := os.Stat(dir); err == nil {
		return path, nil
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", err
	}
	unlock, err := lockFile(dir + ".lock")
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(dir); err == nil { // somebody else has built it while we waited
		return path, nil
	}
	return path, build(ctx, project, dir)
}

// build runs Maven in a temporary folder, which becomes dir once all is there.
func build(ctx context.Context, project, dir string) error {
	for _, tool := range []string{"java", "mvn"} {
		if _, err := exec.LookPath(tool); err != nil {
			return errors.New("no Java or Maven: `make need` installs them (Debian packages default-jdk-headless and maven)")
		}
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dir), "build-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	source, target := filepath.Join(tmp, "source"), filepath.Join(tmp, "target")
	files, err := fs.Sub(projects, project)
	if err != nil {
		return err
	}
	if err := os.CopyFS(source, files); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "mvn", "-B", "-q", "-f", filepath.Join(source, "pom.xml"),
		"-Dbuild.dir="+target, "-DincludeScope=runtime", "-DoutputDirectory="+filepath.Join(target, "lib"),
		"package", "dependency:copy-dependencies")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("mvn for %s: %w\n%s", project, err, out)
	}
	return os.Rename(target, dir)
}

// contentSum names the content of a project.
func contentSum(project string) (string, error) {
	h := sha256.New()
	err := fs.WalkDir(projects, project, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := projects.ReadFile(path)
		if err == nil {
			_, err = fmt.Fprintf(h, "%s %d\n%s", path, len(b), b)
		}
		return err
	})
	return hex.EncodeToString(h.Sum(nil)[:6]), err
}

// lockFile waits for an exclusive lock between processes; the kernel gives it
// back when this one dies.
func lockFile(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		_ = f.Close()
		return nil, err
	}
	return func() { _ = f.Close() }, nil
}
