// Command netagent is the smallest pod network for nodes that share one flat network.
//
// On each node it writes the CNI configuration for the node's pod range, keeps one route to every other
// node's pod range, masquerades what leaves the cluster, and enforces NetworkPolicies (policy.go).
// It runs as a DaemonSet on the host network; NODE_NAME and CLUSTER_CIDR come from its environment.
package main

import (
	"context"
	"log"
	"os"
	"os/signal"
	"sort"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	netv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

const (
	// A burst of events makes one write: what comes within this time is taken together.
	settle = 100 * time.Millisecond
	// A write that failed is tried again after this time.
	retry = time.Second
	// The rules' counters and other people's changes are not watched; this is how often all is looked at.
	resync = 10 * time.Minute
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	config, err := rest.InClusterConfig()
	if err != nil {
		log.Fatal(err)
	}
	agent, err := newAgent(kubernetes.NewForConfigOrDie(config), os.Getenv("NODE_NAME"), os.Getenv("CLUSTER_CIDR"))
	if err != nil {
		log.Fatal(err)
	}
	agent.run(ctx)
}

type agent struct {
	node        string
	clusterCIDR string
	factory     informers.SharedInformerFactory
	changed     chan struct{}
	applied     string
}

func newAgent(client kubernetes.Interface, node, clusterCIDR string) (*agent, error) {
	a := &agent{
		node:        node,
		clusterCIDR: clusterCIDR,
		factory:     informers.NewSharedInformerFactory(client, resync),
		changed:     make(chan struct{}, 1),
	}
	handler := cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { a.poke() },
		UpdateFunc: func(any, any) { a.poke() },
		DeleteFunc: func(any) { a.poke() },
	}
	for _, informer := range []cache.SharedIndexInformer{
		a.factory.Core().V1().Nodes().Informer(),
		a.factory.Core().V1().Pods().Informer(),
		a.factory.Core().V1().Namespaces().Informer(),
		a.factory.Networking().V1().NetworkPolicies().Informer(),
	} {
		if _, err := informer.AddEventHandler(handler); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// poke asks for one more look at the world; asking twice before it happens is asking once.
func (a *agent) poke() {
	select {
	case a.changed <- struct{}{}:
	default:
	}
}

func (a *agent) run(ctx context.Context) {
	a.factory.Start(ctx.Done())
	a.factory.WaitForCacheSync(ctx.Done())
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.changed:
		}
		if err := a.sync(); err != nil {
			log.Print(err)
			time.AfterFunc(retry, a.poke)
		}
		time.Sleep(settle)
	}
}

// sync makes this node's network what the cluster's objects say, if that is something new.
func (a *agent) sync() error {
	nodes, world, err := a.observe()
	if err != nil {
		return err
	}
	rules := ruleset(a.clusterCIDR, world.chains(a.node))
	state := describe(nodes) + rules
	if state == a.applied {
		return nil
	}
	if err := applyRoutes(nodes, a.node); err != nil {
		return err
	}
	if err := applyRules(rules); err != nil {
		return err
	}
	a.applied = state
	log.Printf("applied: %d nodes, %d policies", len(nodes), len(world.policies))
	return nil
}

// observe reads the caches, in an order that depends on the objects alone.
func (a *agent) observe() ([]*corev1.Node, *world, error) {
	nodes, err := a.factory.Core().V1().Nodes().Lister().List(labels.Everything())
	if err != nil {
		return nil, nil, err
	}
	pods, err := a.factory.Core().V1().Pods().Lister().List(labels.Everything())
	if err != nil {
		return nil, nil, err
	}
	namespaces, err := a.factory.Core().V1().Namespaces().Lister().List(labels.Everything())
	if err != nil {
		return nil, nil, err
	}
	policies, err := a.factory.Networking().V1().NetworkPolicies().Lister().List(labels.Everything())
	if err != nil {
		return nil, nil, err
	}
	sort.Slice(nodes, func(i, j int) bool { return nodes[i].Name < nodes[j].Name })
	sort.Slice(pods, func(i, j int) bool { return pods[i].UID < pods[j].UID })
	sort.Slice(policies, func(i, j int) bool { return policies[i].UID < policies[j].UID })
	return nodes, newWorld(pods, namespaces, policies), nil
}

func newWorld(pods []*corev1.Pod, namespaces []*corev1.Namespace, policies []*netv1.NetworkPolicy) *world {
	w := &world{policies: policies, namespaces: map[string]labels.Set{}}
	for _, pod := range pods {
		if live(pod) {
			w.pods = append(w.pods, pod)
		}
	}
	for _, namespace := range namespaces {
		w.namespaces[namespace.Name] = namespace.Labels
	}
	return w
}
