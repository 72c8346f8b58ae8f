// gitops-agent keeps a cluster as the Application in a file says, with the code of Argo CD: its comparison, its engine with sync
// waves, and its health checks. It does what Argo CD's application controller does around them, without a user interface, a
// repository server and a Redis. Each comparison and each operation is a line of JSON on standard output.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/argoproj/argo-cd/gitops-engine/pkg/cache"
	"github.com/argoproj/argo-cd/gitops-engine/pkg/sync/common"
	"github.com/argoproj/argo-cd/gitops-engine/pkg/utils/kube"
	"github.com/argoproj/argo-cd/gitops-engine/pkg/utils/tracing"
	"github.com/argoproj/argo-cd/v3/pkg/apis/application/v1alpha1"
	"github.com/argoproj/argo-cd/v3/util/argo"
	"github.com/argoproj/argo-cd/v3/util/settings"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2/textlogger"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// Argo CD asks for that many requests in parallel (ARGOCD_K8S_CLIENT_QPS and _BURST).
const (
	qps   = 50
	burst = 100
)

// agent is one Application and its cluster.
type agent struct {
	app       *v1alpha1.Application
	config    *rest.Config
	kubectl   kube.Kubectl
	cluster   cache.ClusterCache
	tracking  argo.ResourceTracking
	overrides map[string]v1alpha1.ResourceOverride
	checkout  string
	changed   chan struct{}
	output    *json.Encoder

	// The last operation.
	revision string
	phase    common.OperationPhase
	attempts int64
}

func main() {
	file := flag.String("application", "", "a file with the Application")
	checkout := flag.String("checkout", "checkout", "where to check out its repository")
	refresh := flag.Duration("refresh", 5*time.Second, "how often the repository is looked at")
	flag.Parse()
	if err := run(*file, *checkout, *refresh); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(file, checkout string, refresh time.Duration) error {
	a, err := newAgent(file, checkout)
	if err != nil {
		return err
	}
	if err := a.cluster.EnsureSynced(); err != nil {
		return err
	}
	ticker := time.NewTicker(refresh)
	for {
		// A repository or a cluster that does not answer is asked again.
		if err := a.reconcile(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		select {
		case <-ticker.C:
		case <-a.changed:
		}
	}
}

func newAgent(file, checkout string) (*agent, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	app := &v1alpha1.Application{}
	if err := yaml.UnmarshalStrict(text, app); err != nil {
		return nil, err
	}
	if policy := app.Spec.SyncPolicy; policy == nil || !policy.IsAutomatedSyncEnabled() {
		return nil, errors.New("the Application is not synced by itself")
	}
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv(clientcmd.RecommendedConfigPathEnvVar))
	if err != nil {
		return nil, err
	}
	config.QPS, config.Burst = qps, burst
	log := textlogger.NewLogger(textlogger.NewConfig(textlogger.Output(os.Stderr)))
	a := &agent{
		app:      app,
		config:   config,
		kubectl:  &kube.KubectlCmd{Log: log, Tracer: tracing.NopTracer{}},
		tracking: argo.NewResourceTracking(),
		// What Argo CD ignores in every object unless it is told otherwise.
		overrides: map[string]v1alpha1.ResourceOverride{
			"*/*": {IgnoreDifferences: v1alpha1.OverrideIgnoreDiff{JSONPointers: []string{"/status"}}},
		},
		checkout: checkout,
		changed:  make(chan struct{}, 1),
		output:   json.NewEncoder(os.Stdout),
	}
	a.cluster = cache.NewClusterCache(config,
		cache.SetLogr(log),
		cache.SetPopulateResourceInfoHandler(func(object *unstructured.Unstructured, _ bool) (any, bool) {
			owner := a.owner(object)
			return owner, owner != ""
		}),
	)
	a.cluster.OnResourceUpdated(func(now, before *cache.Resource, _ map[kube.ResourceKey]*cache.Resource) {
		if a.manages(now) || a.manages(before) {
			select {
			case a.changed <- struct{}{}:
			default:
			}
		}
	})
	return a, nil
}

// owner is the name of the Application that an object belongs to.
func (a *agent) owner(object *unstructured.Unstructured) string {
	return a.tracking.GetAppName(object, argoLabel, v1alpha1.TrackingMethodAnnotation, "")
}

func (a *agent) manages(resource *cache.Resource) bool {
	if resource == nil {
		return false
	}
	owner, ok := resource.Info.(string)
	return ok && owner == a.app.Name
}

// The label that Argo CD takes if it tracks by labels, which it does not do by default.
const argoLabel = "app.kubernetes.io/instance"

// reconcile compares, and syncs where Argo CD would do so by itself: to a new revision once, with retries if that fails, and back
// to the same revision when the cluster differs from it.
func (a *agent) reconcile(ctx context.Context) error {
	revision, targets, err := a.targets(ctx)
	if err != nil {
		return err
	}
	state, err := a.compare(revision, targets)
	if err != nil {
		return err
	}
	if err := a.report(state); err != nil {
		return err
	}
	if len(state.outOfSync) == 0 {
		return nil
	}
	automated := a.app.Spec.SyncPolicy.Automated
	isNew := revision != a.revision
	switch {
	case isNew:
		a.attempts = 0
	case a.phase.Successful():
		if !automated.GetSelfHeal() {
			return nil
		}
	default:
		if !a.mayRetry(ctx) {
			return nil
		}
	}
	a.revision = revision
	// Self-heal touches what differs, and a new revision everything.
	var only map[kube.ResourceKey]bool
	if !isNew && a.phase.Successful() {
		only = state.outOfSync
	}
	return a.sync(ctx, revision, targets, only)
}

// mayRetry waits until a failed operation may be tried again.
func (a *agent) mayRetry(ctx context.Context) bool {
	retry := a.app.Spec.SyncPolicy.Retry
	if retry == nil {
		retry = &v1alpha1.RetryStrategy{Limit: 5}
	}
	if retry.Limit >= 0 && a.attempts >= retry.Limit {
		return false
	}
	next, err := retry.NextRetryAt(time.Now(), a.attempts)
	if err != nil {
		return false
	}
	a.attempts++
	select {
	case <-ctx.Done():
		return false
	case <-time.After(time.Until(next)):
		return true
	}
}

// targets is what the repository wants now, as its revision and its objects.
func (a *agent) targets(ctx context.Context) (string, []*unstructured.Unstructured, error) {
	source := a.app.Spec.Source
	if _, err := os.Stat(a.checkout); errors.Is(err, os.ErrNotExist) {
		if _, err := git(ctx, "clone", "--quiet", source.RepoURL, a.checkout); err != nil {
			return "", nil, err
		}
	}
	if _, err := git(ctx, "-C", a.checkout, "fetch", "--quiet", "origin", source.TargetRevision); err != nil {
		return "", nil, err
	}
	if _, err := git(ctx, "-C", a.checkout, "reset", "--quiet", "--hard", "FETCH_HEAD"); err != nil {
		return "", nil, err
	}
	revision, err := git(ctx, "-C", a.checkout, "rev-parse", "HEAD")
	if err != nil {
		return "", nil, err
	}
	kustomizer := krusty.MakeKustomizer(krusty.MakeDefaultOptions())
	built, err := kustomizer.Run(filesys.MakeFsOnDisk(), filepath.Join(a.checkout, source.Path))
	if err != nil {
		return "", nil, err
	}
	text, err := built.AsYaml()
	if err != nil {
		return "", nil, err
	}
	objects, err := kube.SplitYAML(text)
	if err != nil {
		return "", nil, err
	}
	for _, object := range objects {
		namespace := a.app.Spec.Destination.Namespace
		if err := a.tracking.SetAppInstance(object, argoLabel, a.app.Name, namespace, v1alpha1.TrackingMethodAnnotation, ""); err != nil {
			return "", nil, err
		}
	}
	return revision, objects, nil
}

func git(ctx context.Context, arguments ...string) (string, error) {
	command := exec.CommandContext(ctx, "git", arguments...)
	said, err := command.Output()
	if err != nil {
		exit := &exec.ExitError{}
		if errors.As(err, &exit) {
			return "", fmt.Errorf("git %s: %w: %s", strings.Join(arguments, " "), err, exit.Stderr)
		}
		return "", err
	}
	return strings.TrimSpace(string(said)), nil
}

// ignoreAggregatedRoles is what Argo CD does by default with the rules of aggregated roles.
var ignoreAggregatedRoles = settings.GetDefaultDiffOptions().IgnoreAggregatedRoles
