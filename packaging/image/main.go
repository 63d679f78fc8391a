// Command image writes a container image with one file in it, the static binary, as an archive that docker load,
// podman load, ctr images import and skopeo (oci-archive:) read.
//
//	go run . -binary FILE -architecture amd64 -version 0.2.0 -revision COMMIT -created SECONDS -output FILE
//
// It is the layout of the OCI image specification, and the manifest.json that docker load wants besides.
package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

const (
	name = "telemetry-sidecar"
	// Where the binary is in the image.
	path = "usr/bin/" + name
	// Nobody's, as in other images without a user database.
	user = "65532:65532"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("image: ")
	binary := flag.String("binary", "", "the static binary")
	architecture := flag.String("architecture", "amd64", "its processor architecture, as Go calls it")
	version := flag.String("version", "", "the version, which is also the tag")
	revision := flag.String("revision", "", "the commit")
	created := flag.Int64("created", 0, "when it was made, in seconds since 1970")
	output := flag.String("output", "", "the archive to write")
	flag.Parse()
	image, err := build(*binary, *architecture, *version, *revision, time.Unix(*created, 0).UTC())
	if err == nil {
		err = write(image, name+":"+*version, *output, time.Unix(*created, 0).UTC())
	}
	if err != nil {
		log.Fatal(err)
	}
}

func build(binary, architecture, version, revision string, created time.Time) (v1.Image, error) {
	content, err := os.ReadFile(binary)
	if err != nil {
		return nil, err
	}
	files, err := archive(map[string][]byte{path: content}, 0o755, created)
	if err != nil {
		return nil, err
	}
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(files)), nil }
	layer, err := tarball.LayerFromOpener(open, tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, err
	}
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	history := v1.History{CreatedBy: "COPY " + name + " /" + path, Created: v1.Time{Time: created}}
	image, err = mutate.Append(image, mutate.Addendum{Layer: layer, History: history})
	if err != nil {
		return nil, err
	}
	file, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.OS, file.Architecture, file.Created = "linux", architecture, v1.Time{Time: created}
	file.Config = v1.Config{
		Entrypoint: []string{"/" + path},
		User:       user,
		Env:        []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
		Labels: map[string]string{
			"org.opencontainers.image.title":       name,
			"org.opencontainers.image.description": "Turns the telemetry that a worker prints into a gRPC stream",
			"org.opencontainers.image.version":     version,
			"org.opencontainers.image.revision":    revision,
			"org.opencontainers.image.created":     created.Format(time.RFC3339),
			"org.opencontainers.image.licenses":    "MIT OR Apache-2.0",
		},
	}
	return mutate.ConfigFile(image, file)
}

// write puts the image's layout into one archive.
func write(image v1.Image, tag, output string, created time.Time) error {
	directory, err := os.MkdirTemp("", name)
	if err != nil {
		return err
	}
	defer os.RemoveAll(directory)
	index, err := layout.Write(directory, empty.Index)
	if err != nil {
		return err
	}
	annotations := map[string]string{"org.opencontainers.image.ref.name": tag, "io.containerd.image.name": tag}
	if err := index.AppendImage(image, layout.WithAnnotations(annotations)); err != nil {
		return err
	}
	files := map[string][]byte{}
	if files["manifest.json"], err = dockerManifest(image, tag); err != nil {
		return err
	}
	root := os.DirFS(directory)
	err = fs.WalkDir(root, ".", func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			files[path], err = fs.ReadFile(root, path)
		}
		return err
	})
	if err != nil {
		return err
	}
	content, err := archive(files, 0o644, created)
	if err != nil {
		return err
	}
	return os.WriteFile(output, content, 0o644)
}

func dockerManifest(image v1.Image, tag string) ([]byte, error) {
	configuration, err := image.ConfigName()
	if err != nil {
		return nil, err
	}
	layers, err := image.Layers()
	if err != nil {
		return nil, err
	}
	blob := func(hash v1.Hash) string { return fmt.Sprintf("blobs/%s/%s", hash.Algorithm, hash.Hex) }
	entry := tarball.Descriptor{Config: blob(configuration), RepoTags: []string{tag}}
	for _, layer := range layers {
		digest, err := layer.Digest()
		if err != nil {
			return nil, err
		}
		entry.Layers = append(entry.Layers, blob(digest))
	}
	return json.Marshal(tarball.Manifest{entry})
}

// archive makes a tar archive that is the same each time: of root's files, sorted, with one time.
func archive(files map[string][]byte, mode int64, modified time.Time) ([]byte, error) {
	var content bytes.Buffer
	writer := tar.NewWriter(&content)
	made := map[string]bool{".": true}
	var directory func(path string) error
	directory = func(path string) error {
		if made[path] {
			return nil
		}
		made[path] = true
		if err := directory(filepath.Dir(path)); err != nil {
			return err
		}
		return writer.WriteHeader(&tar.Header{
			Typeflag: tar.TypeDir, Name: path + "/", Mode: 0o755, ModTime: modified,
		})
	}
	for _, path := range slices.Sorted(maps.Keys(files)) {
		if err := directory(filepath.Dir(path)); err != nil {
			return nil, err
		}
		header := tar.Header{
			Typeflag: tar.TypeReg, Name: path, Mode: mode, Size: int64(len(files[path])), ModTime: modified,
		}
		if err := writer.WriteHeader(&header); err != nil {
			return nil, err
		}
		if _, err := writer.Write(files[path]); err != nil {
			return nil, err
		}
	}
	if err := writer.Close(); err != nil {
		return nil, err
	}
	return content.Bytes(), nil
}
