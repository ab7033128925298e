package mgmt

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
)

// Controllers are the controllers of clusters, made when they are asked for. The API on a port has the one cluster of
// Config.Cluster; on the local socket a client may name another.
type Controllers struct {
	config Config
	target func(cluster string) Target

	mu sync.Mutex
	by map[string]*Controller
}

// NewControllers returns the controllers of all clusters. In c, Cluster is the default, and Target is not used: target has
// that of each cluster.
func NewControllers(c Config, target func(cluster string) Target) *Controllers {
	return &Controllers{config: c, target: target, by: map[string]*Controller{}}
}

// Default is the handler of the default cluster, for a Server.
func (cs *Controllers) Default(*http.Request) (Handler, error) { return cs.For(cs.config.Cluster) }

// Named is the handler of the cluster that a request names (?cluster=NAME), for a Server.
func (cs *Controllers) Named(r *http.Request) (Handler, error) {
	if name := r.URL.Query().Get("cluster"); name != "" {
		return cs.For(name)
	}
	return cs.Default(r)
}

// maxClusters bounds how many clusters are asked for.
const maxClusters = 1000

// For returns the controller of a cluster, which need not exist.
func (cs *Controllers) For(cluster string) (*Controller, error) {
	if cluster == "" || len(cluster) > 100 || strings.HasPrefix(cluster, ".") || strings.ContainsAny(cluster, "/\\:@\x00\n") {
		return nil, fmt.Errorf("%q cannot be the name of a cluster", cluster)
	}
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if c := cs.by[cluster]; c != nil {
		return c, nil
	}
	if len(cs.by) >= maxClusters {
		return nil, errors.New("too many clusters")
	}
	config := cs.config
	config.Cluster, config.Target = cluster, cs.target(cluster)
	c, err := NewController(config)
	if damaged, ok := errors.AsType[*Damaged](err); ok {
		cs.config.Log.Error("A staged configuration is lost", "cluster", cluster, "error", damaged)
		err = nil
	}
	if err == nil {
		cs.by[cluster] = c
	}
	return c, err
}
