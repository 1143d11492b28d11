package main

// NetworkPolicies as nftables chains. Pods are routed, so every packet between pods, and from outside to a pod,
// crosses the node's forward hook after kube-proxy has put in the real addresses: one base chain there is enough.
// What the node itself sends (the kubelet's probes) does not cross it and stays allowed, as it should.
//
// Known limits: IPv4 only; a new policy does not cut established connections; clients of a NodePort are seen with
// the node's address; what a pod sends to its own node is not filtered.

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	netv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// world is what policies are about; pods are live ones only.
type world struct {
	pods       []*corev1.Pod
	namespaces map[string]labels.Set
	policies   []*netv1.NetworkPolicy
}

// live says whether a pod has an address of its own that it uses now.
func live(pod *corev1.Pod) bool {
	return pod.Status.PodIP != "" && !strings.Contains(pod.Status.PodIP, ":") && !pod.Spec.HostNetwork &&
		pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed
}

// chains renders the chains for the pods on one node: each isolated pod has one for a direction, which returns
// what some policy allows and drops the rest.
func (w *world) chains(node string) string {
	var chains, jumps strings.Builder
	for _, pod := range w.pods {
		if pod.Spec.NodeName != node {
			continue
		}
		id := strings.ReplaceAll(pod.Status.PodIP, ".", "_")
		if rules, isolated := w.egress(pod); isolated {
			fmt.Fprintf(&chains, "  chain egress_%s {\n%s    counter drop\n  }\n", id, rules)
			fmt.Fprintf(&jumps, "    ip saddr %s jump egress_%s\n", pod.Status.PodIP, id)
		}
		if rules, isolated := w.ingress(pod); isolated {
			fmt.Fprintf(&chains, "  chain ingress_%s {\n%s    counter drop\n  }\n", id, rules)
			fmt.Fprintf(&jumps, "    ip daddr %s jump ingress_%s\n", pod.Status.PodIP, id)
		}
	}
	return chains.String() + "  chain forward {\n    type filter hook forward priority filter; policy accept;\n" +
		"    ct state established,related accept\n" + jumps.String() + "  }\n"
}

func (w *world) ingress(pod *corev1.Pod) (rules string, isolated bool) {
	for _, policy := range w.selecting(pod, netv1.PolicyTypeIngress) {
		isolated = true
		for _, rule := range policy.Spec.Ingress {
			for _, peer := range w.peers(policy.Namespace, rule.From, "saddr") {
				for _, port := range portMatches(rule.Ports, pod) {
					rules += "    " + peer.match + port + "return\n"
				}
			}
		}
	}
	return rules, isolated
}

func (w *world) egress(pod *corev1.Pod) (rules string, isolated bool) {
	for _, policy := range w.selecting(pod, netv1.PolicyTypeEgress) {
		isolated = true
		for _, rule := range policy.Spec.Egress {
			for _, peer := range w.peers(policy.Namespace, rule.To, "daddr") {
				// A named port is the receiver's: each may have another number for it, and who is no pod has none.
				for _, port := range portMatches(rule.Ports, peer.pod) {
					rules += "    " + peer.match + port + "return\n"
				}
			}
		}
	}
	return rules, isolated
}

func (w *world) selecting(pod *corev1.Pod, direction netv1.PolicyType) (found []*netv1.NetworkPolicy) {
	for _, policy := range w.policies {
		if policy.Namespace != pod.Namespace || !matches(&policy.Spec.PodSelector, pod.Labels) {
			continue
		}
		for _, each := range policy.Spec.PolicyTypes {
			if each == direction {
				found = append(found, policy)
			}
		}
	}
	return found
}

// peer is one side of an allowed conversation: an nft match ("" is anyone) and the pod it stands for, if one.
type peer struct {
	match string
	pod   *corev1.Pod
}

func (w *world) peers(namespace string, list []netv1.NetworkPolicyPeer, address string) (found []peer) {
	if len(list) == 0 {
		return []peer{{}}
	}
	for _, each := range list {
		if each.IPBlock != nil {
			if strings.Contains(each.IPBlock.CIDR, ":") {
				continue
			}
			match := fmt.Sprintf("ip %s %s ", address, each.IPBlock.CIDR)
			if len(each.IPBlock.Except) > 0 {
				match += fmt.Sprintf("ip %s != { %s } ", address, strings.Join(each.IPBlock.Except, ", "))
			}
			found = append(found, peer{match: match})
			continue
		}
		for _, pod := range w.pods {
			if w.isPeer(namespace, each, pod) {
				found = append(found, peer{match: fmt.Sprintf("ip %s %s ", address, pod.Status.PodIP), pod: pod})
			}
		}
	}
	return found
}

func (w *world) isPeer(namespace string, spec netv1.NetworkPolicyPeer, pod *corev1.Pod) bool {
	if spec.NamespaceSelector == nil {
		if pod.Namespace != namespace {
			return false
		}
	} else if !matches(spec.NamespaceSelector, w.namespaces[pod.Namespace]) {
		return false
	}
	return spec.PodSelector == nil || matches(spec.PodSelector, pod.Labels)
}

func matches(selector *metav1.LabelSelector, set labels.Set) bool {
	parsed, err := metav1.LabelSelectorAsSelector(selector)
	return err == nil && parsed.Matches(set)
}

// portMatches gives one nft match for each port that the receiver has; "" is every port.
func portMatches(ports []netv1.NetworkPolicyPort, receiver *corev1.Pod) []string {
	if len(ports) == 0 {
		return []string{""}
	}
	found := []string{}
	for _, port := range ports {
		protocol := corev1.ProtocolTCP
		if port.Protocol != nil {
			protocol = *port.Protocol
		}
		name := strings.ToLower(string(protocol))
		if port.Port == nil {
			found = append(found, "meta l4proto "+name+" ")
			continue
		}
		number := portNumber(*port.Port, protocol, receiver)
		switch {
		case number == 0:
			// A name that this pod does not have allows nothing to it.
		case port.EndPort != nil:
			found = append(found, fmt.Sprintf("%s dport %d-%d ", name, number, *port.EndPort))
		default:
			found = append(found, fmt.Sprintf("%s dport %d ", name, number))
		}
	}
	return found
}

func portNumber(port intstr.IntOrString, protocol corev1.Protocol, pod *corev1.Pod) int {
	if port.Type == intstr.Int {
		return port.IntValue()
	}
	if pod == nil {
		return 0
	}
	for _, container := range pod.Spec.Containers {
		for _, each := range container.Ports {
			if each.Name == port.StrVal && (each.Protocol == protocol || each.Protocol == "") {
				return int(each.ContainerPort)
			}
		}
	}
	return 0
}
