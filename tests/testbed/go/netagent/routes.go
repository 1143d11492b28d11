package main

import (
	"fmt"
	"log"
	"net"
	"os"
	"os/exec"
	"strings"

	"github.com/vishvananda/netlink"
	corev1 "k8s.io/api/core/v1"
)

const configPath = "/etc/cni/net.d/10-netagent.conflist"

// Point-to-point links: every packet of a pod crosses the node's forward hook, where policies are enforced.
const configTemplate = `{
  "cniVersion": "1.0.0",
  "name": "netagent",
  "plugins": [
    {"type": "ptp", "mtu": 1500, "ipMasq": false,
     "ipam": {"type": "host-local", "dataDir": "/run/cni-ipam",
              "ranges": [[{"subnet": "%s"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
    {"type": "portmap", "capabilities": {"portMappings": true}}
  ]
}
`

// describe says what of the nodes the routes depend on.
func describe(nodes []*corev1.Node) string {
	var lines strings.Builder
	for _, node := range nodes {
		fmt.Fprintf(&lines, "%s %s %s\n", node.Name, node.Spec.PodCIDR, internalIP(node))
	}
	return lines.String()
}

// applyRoutes writes this node's CNI configuration and a route to each other node's pod range.
func applyRoutes(nodes []*corev1.Node, self string) error {
	for _, node := range nodes {
		address := internalIP(node)
		switch {
		case node.Spec.PodCIDR == "" || address == nil:
			// Not registered in full yet; its update comes.
		case node.Name == self:
			if err := writeConfig(fmt.Sprintf(configTemplate, node.Spec.PodCIDR)); err != nil {
				return err
			}
		default:
			_, pods, err := net.ParseCIDR(node.Spec.PodCIDR)
			if err != nil {
				return err
			}
			if err := netlink.RouteReplace(&netlink.Route{Dst: pods, Gw: address}); err != nil {
				return fmt.Errorf("route to %s via %s: %w", pods, address, err)
			}
		}
	}
	return nil
}

// writeConfig replaces the CNI configuration in one step: the runtime may read it at any time.
func writeConfig(want string) error {
	if have, err := os.ReadFile(configPath); err == nil && string(have) == want {
		return nil
	}
	fresh := configPath + ".new"
	if err := os.WriteFile(fresh, []byte(want), 0o644); err != nil {
		return err
	}
	log.Printf("writing %s", configPath)
	return os.Rename(fresh, configPath)
}

// ruleset is the whole nftables table: replacing it is one transaction. The first line makes sure that
// there is something to delete.
func ruleset(clusterCIDR, chains string) string {
	return fmt.Sprintf(`table ip netagent
delete table ip netagent
table ip netagent {
  chain postrouting {
    type nat hook postrouting priority srcnat + 5;
    ip saddr %[1]s ip daddr != %[1]s masquerade
  }
%[2]s}
`, clusterCIDR, chains)
}

func applyRules(rules string) error {
	command := exec.Command("nft", "-f", "-")
	command.Stdin = strings.NewReader(rules)
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("nft: %w: %s", err, output)
	}
	return nil
}

func internalIP(node *corev1.Node) net.IP {
	for _, address := range node.Status.Addresses {
		if address.Type == corev1.NodeInternalIP {
			return net.ParseIP(address.Address)
		}
	}
	return nil
}
