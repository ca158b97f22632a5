// A controller on Go's controller-runtime, with its defaults, for comparison.
//
// It speaks the protocol of benchmarks/compare/peers.py: flags in, one JSON object a
// line on stdout, commands a line on stdin. Times are seconds of CLOCK_MONOTONIC,
// which all processes of a machine share.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
)

// mark is the annotation that a patching reconciler sets.
const mark = "benchmark.pilothouse/mark"

type options struct {
	namespace, kind, task, mark string
	expect, workers             int
}

func main() {
	var o options
	flag.StringVar(&o.namespace, "namespace", "", "where the objects that count are")
	flag.StringVar(&o.kind, "kind", "ConfigMap", "ConfigMap or Pod")
	flag.StringVar(&o.task, "task", "read", "read, noop or patch")
	flag.StringVar(&o.mark, "mark", "", "what a patch writes")
	flag.IntVar(&o.expect, "expect", 0, "objects to reconcile")
	flag.IntVar(&o.workers, "workers", 1, "reconciles at once")
	flag.Parse()
	if err := run(o); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(o options) error {
	log.SetLogger(zap.New(zap.WriteTo(os.Stderr)))
	config, err := ctrl.GetConfig() // reads --kubeconfig
	if err != nil {
		return err
	}
	m, err := manager.New(config, manager.Options{
		// Any free port instead of the default one: other programs run here too.
		Metrics:                metricsserver.Options{BindAddress: "127.0.0.1:0"},
		HealthProbeBindAddress: "127.0.0.1:0",
	})
	if err != nil {
		return err
	}
	p := &peer{options: o, client: m.GetClient(), done: map[ctrl.Request]struct{}{}}
	counting := builder.WithPredicates(predicate.Funcs{UpdateFunc: p.updated})
	err = builder.ControllerManagedBy(m).
		For(p.newObject(), counting).
		WithOptions(controller.Options{MaxConcurrentReconciles: o.workers}).
		Complete(p)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctrl.SetupSignalHandler())
	go func() {
		p.obey(os.Stdin)
		stop()
	}()
	say(message{"what": "manager", "at": now()})
	return m.Start(ctx)
}

type message map[string]any

type start struct {
	version  string
	told, at float64
}

type peer struct {
	options
	client client.Client

	mu     sync.Mutex
	first  float64
	done   map[ctrl.Request]struct{}
	starts []start
	told   float64

	wanted      int
	handled     int
	firstHandle float64
}

func (p *peer) newObject() client.Object {
	if p.kind == "Pod" {
		return &corev1.Pod{}
	}
	return &corev1.ConfigMap{}
}

func (p *peer) Reconcile(ctx context.Context, r ctrl.Request) (ctrl.Result, error) {
	at := now()
	if r.Namespace != p.namespace {
		return ctrl.Result{}, nil
	}
	version := ""
	if p.task != "noop" {
		o := p.newObject()
		if err := p.client.Get(ctx, r.NamespacedName, o); err != nil {
			return ctrl.Result{}, client.IgnoreNotFound(err)
		}
		if p.task == "patch" && o.GetAnnotations()[mark] != p.mark {
			if err := p.patch(ctx, o); err != nil {
				return ctrl.Result{}, err
			}
		}
		version = o.GetResourceVersion()
	}
	p.finished(r, version, at)
	return ctrl.Result{}, nil
}

func (p *peer) patch(ctx context.Context, o client.Object) error {
	before := o.DeepCopyObject().(client.Object)
	annotations := o.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[mark] = p.mark
	o.SetAnnotations(annotations)
	return p.client.Patch(ctx, o, client.MergeFrom(before))
}

// finished notes a reconcile, and tells when every object has had one.
func (p *peer) finished(r ctrl.Request, version string, at float64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.done) == p.expect {
		p.starts = append(p.starts, start{version, p.told, at})
		return
	}
	if len(p.done) == 0 {
		p.first = at
	}
	p.done[r] = struct{}{}
	if len(p.done) == p.expect {
		say(message{"what": "reconciled", "at": now(), "first": p.first, "cpu": cpu()})
	}
}

// updated is a predicate that admits everything and counts it.
func (p *peer) updated(event.UpdateEvent) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.told = now()
	if p.handled == 0 {
		p.firstHandle = p.told
	}
	p.handled++
	if p.handled == p.wanted {
		say(message{"what": "handled", "at": p.told, "first": p.firstHandle, "cpu": cpu()})
	}
	return true
}

// obey reads commands until the driver closes the pipe.
func (p *peer) obey(in io.Reader) {
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		command, argument, _ := strings.Cut(lines.Text(), " ")
		p.mu.Lock()
		switch command {
		case "count": // updates, from now on
			p.wanted, _ = strconv.Atoi(argument)
			p.handled = 0
			say(message{"what": "counting", "cpu": cpu()})
		case "starts": // of the reconciles after the first of each object
			starts := make([][3]any, 0, len(p.starts))
			for _, s := range p.starts {
				starts = append(starts, [3]any{s.version, s.told, s.at})
			}
			p.starts = nil
			say(message{"what": "starts", "starts": starts})
		}
		p.mu.Unlock()
	}
}

func say(m message) {
	line, err := json.Marshal(m)
	if err != nil {
		panic(err)
	}
	os.Stdout.Write(append(line, '\n'))
}

func now() float64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		panic(err)
	}
	return float64(t.Sec) + float64(t.Nsec)/1e9
}

// cpu is the time on processors so far, of all threads, in seconds.
func cpu() float64 {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return seconds(u.Utime) + seconds(u.Stime)
}

func seconds(t unix.Timeval) float64 { return float64(t.Sec) + float64(t.Usec)/1e6 }
