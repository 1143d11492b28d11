// Command crictl has the few subcommands that kind and people need on a node, over the CRI API:
//
//	crictl inspecti IMAGE   {"status": {"id": ..., "repoTags": [...]}}, what `kind load` reads
//	crictl images           one line an image
//	crictl pods             one line a pod sandbox
//
// The well-known program of this name cannot be had through every Go module proxy.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const socket = "unix:///run/containerd/containerd.sock"

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "crictl:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("usage: crictl inspecti IMAGE | images | pods")
	}
	connection, err := grpc.NewClient(socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer connection.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	switch args[0] {
	case "inspecti":
		// The image is the last word: callers put options before it.
		return inspect(ctx, cri.NewImageServiceClient(connection), args[len(args)-1])
	case "images":
		return images(ctx, cri.NewImageServiceClient(connection))
	case "pods":
		return pods(ctx, cri.NewRuntimeServiceClient(connection))
	default:
		return fmt.Errorf("no subcommand %q; there are inspecti, images and pods", args[0])
	}
}

func inspect(ctx context.Context, client cri.ImageServiceClient, name string) error {
	answer, err := client.ImageStatus(ctx, &cri.ImageStatusRequest{Image: &cri.ImageSpec{Image: name}})
	if err != nil {
		return err
	}
	image := answer.GetImage()
	if image == nil {
		return fmt.Errorf("no such image %q present", name)
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]any{"status": map[string]any{
		"id": image.Id, "repoTags": image.RepoTags, "repoDigests": image.RepoDigests, "size": image.Size,
	}})
}

func images(ctx context.Context, client cri.ImageServiceClient) error {
	answer, err := client.ListImages(ctx, &cri.ListImagesRequest{})
	if err != nil {
		return err
	}
	for _, image := range answer.Images {
		fmt.Println(image.Id, image.Size, image.RepoTags)
	}
	return nil
}

func pods(ctx context.Context, client cri.RuntimeServiceClient) error {
	answer, err := client.ListPodSandbox(ctx, &cri.ListPodSandboxRequest{})
	if err != nil {
		return err
	}
	for _, pod := range answer.Items {
		fmt.Println(pod.Id, pod.State, pod.Metadata.Namespace, pod.Metadata.Name)
	}
	return nil
}
