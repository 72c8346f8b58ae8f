package main

import (
	"context"
	"sort"
	"time"

	"github.com/argoproj/argo-cd/gitops-engine/pkg/cache"
	"github.com/argoproj/argo-cd/gitops-engine/pkg/health"
	"github.com/argoproj/argo-cd/gitops-engine/pkg/sync"
	"github.com/argoproj/argo-cd/gitops-engine/pkg/sync/common"
	"github.com/argoproj/argo-cd/gitops-engine/pkg/utils/kube"
	argocommon "github.com/argoproj/argo-cd/v3/common"
	argodiff "github.com/argoproj/argo-cd/v3/util/argo/diff"
	"github.com/argoproj/argo-cd/v3/util/argo/normalizers"
	"github.com/argoproj/argo-cd/v3/util/lua"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

const (
	// What Argo CD waits between two waves, so that controllers notice what they were given (ARGOCD_SYNC_WAVE_DELAY).
	waveDelay = 2 * time.Second
	// How often a running operation is looked at, if nothing that it waits for changes.
	operationRefresh = time.Second
)

// state is the result of a comparison.
type state struct {
	revision   string
	reconciled sync.ReconciliationResult
	outOfSync  map[kube.ResourceKey]bool
	health     health.HealthStatusCode
}

// compare tells what differs between the repository and the cluster, and how healthy the cluster is.
func (a *agent) compare(revision string, targets []*unstructured.Unstructured) (*state, error) {
	// The engine writes into what it is given.
	wanted := make([]*unstructured.Unstructured, len(targets))
	for i, target := range targets {
		wanted[i] = target.DeepCopy()
	}
	live, err := a.cluster.GetManagedLiveObjs(wanted, func(resource *cache.Resource) bool { return a.manages(resource) })
	if err != nil {
		return nil, err
	}
	reconciled := sync.Reconcile(wanted, live, a.app.Spec.Destination.Namespace, a.cluster)
	config, err := argodiff.NewDiffConfigBuilder().
		WithDiffSettings(a.app.Spec.IgnoreDifferences, a.overrides, ignoreAggregatedRoles, normalizers.IgnoreNormalizerOpts{}).
		WithTracking(argoLabel, "annotation").
		WithNoCache().
		WithGVKParser(a.cluster.GetGVKParser()).
		WithManager(argocommon.ArgoCDSSAManager).
		WithStructuredMergeDiff(a.hasOption(common.SyncOptionServerSideApply)).
		Build()
	if err != nil {
		return nil, err
	}
	differences, err := argodiff.StateDiffs(reconciled.Live, reconciled.Target, config)
	if err != nil {
		return nil, err
	}
	outOfSync := map[kube.ResourceKey]bool{}
	worst := health.HealthStatusHealthy
	for i, target := range reconciled.Target {
		live := reconciled.Live[i]
		if target == nil || live == nil || differences.Diffs[i].Modified {
			object := target
			if object == nil {
				object = live
			}
			outOfSync[kube.GetResourceKey(object)] = true
		}
		code := health.HealthStatusMissing
		if live != nil {
			said, err := health.GetResourceHealth(live, lua.ResourceHealthOverrides(a.overrides))
			switch {
			case err != nil:
				code = health.HealthStatusUnknown
			case said == nil:
				continue
			default:
				code = said.Status
			}
		}
		if health.IsWorse(worst, code) {
			worst = code
		}
	}
	return &state{revision, reconciled, outOfSync, worst}, nil
}

func (a *agent) hasOption(option string) bool {
	return a.app.Spec.SyncPolicy.SyncOptions.HasOption(option)
}

// sync is an operation of Argo CD: wave after wave, each when the one before is healthy, until all is done or something fails.
func (a *agent) sync(ctx context.Context, revision string, targets []*unstructured.Unstructured, only map[kube.ResourceKey]bool) error {
	started := metav1.Now()
	phase, message, results := common.OperationRunning, "", []common.ResourceSyncResult{}
	for {
		state, err := a.compare(revision, targets)
		if err != nil {
			return err
		}
		operation, cleanup, err := sync.NewSyncContext(revision, state.reconciled, a.config, a.config, a.kubectl,
			a.app.Spec.Destination.Namespace, a.options(phase, message, results, started, only)...)
		if err != nil {
			return err
		}
		operation.Sync()
		cleanup()
		phase, message, results = operation.GetState()
		if phase.Completed() {
			a.phase = phase
			return a.reportOperation(revision, phase, message, results, time.Since(started.Time))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(operationRefresh):
		case <-a.changed:
		}
	}
}

// options is what the application controller gives to the engine.
func (a *agent) options(
	phase common.OperationPhase, message string, results []common.ResourceSyncResult, started metav1.Time,
	only map[kube.ResourceKey]bool,
) []sync.SyncOpt {
	propagation := metav1.DeletePropagationForeground
	return []sync.SyncOpt{
		sync.WithHealthOverride(lua.ResourceHealthOverrides(a.overrides)),
		sync.WithOperationSettings(false, a.app.Spec.SyncPolicy.Automated.GetPrune(), false, only != nil),
		sync.WithInitialState(phase, message, results, started),
		sync.WithResourcesFilter(func(key kube.ResourceKey, _, _ *unstructured.Unstructured) bool {
			return only == nil || only[key]
		}),
		sync.WithManifestValidation(!a.hasOption(common.SyncOptionsDisableValidation)),
		sync.WithSyncWaveHook(func(_ common.SyncPhase, _ int, isLast bool) error {
			if !isLast {
				time.Sleep(waveDelay)
			}
			return nil
		}),
		sync.WithPruneLast(a.hasOption(common.SyncOptionPruneLast)),
		sync.WithPrunePropagationPolicy(&propagation),
		sync.WithServerSideApply(a.hasOption(common.SyncOptionServerSideApply)),
		sync.WithServerSideApplyManager(argocommon.ArgoCDSSAManager),
		sync.WithSkipDryRunOnMissingResource(a.hasOption(common.SyncOptionSkipDryRunOnMissingResource)),
	}
}

// comparison is what a line of output tells of a comparison.
type comparison struct {
	Kind      string                  `json:"kind"`
	Revision  string                  `json:"revision"`
	Health    health.HealthStatusCode `json:"health"`
	OutOfSync []string                `json:"outOfSync"`
}

func (a *agent) report(state *state) error {
	names := []string{}
	for key := range state.outOfSync {
		names = append(names, key.String())
	}
	sort.Strings(names)
	return a.output.Encode(comparison{"Comparison", state.revision, state.health, names})
}

// operation is what a line of output tells of an operation.
type operation struct {
	Kind     string                `json:"kind"`
	Revision string                `json:"revision"`
	Phase    common.OperationPhase `json:"phase"`
	Message  string                `json:"message"`
	Seconds  float64               `json:"seconds"`
	Results  []string              `json:"results"`
}

func (a *agent) reportOperation(
	revision string, phase common.OperationPhase, message string, results []common.ResourceSyncResult, took time.Duration,
) error {
	told := []string{}
	for _, result := range results {
		told = append(told, string(result.Status)+" "+result.ResourceKey.String()+": "+result.Message)
	}
	return a.output.Encode(operation{"Operation", revision, phase, message, took.Seconds(), told})
}
