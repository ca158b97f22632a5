"""Workloads restart when the ConfigMaps and Secrets that they use change.

    annotations   what a workload asks for        digest     content → hashes
    references    what its pods use               sources    hashed, then dropped
    rollout       what to write, if anything      workloads  all kinds in one view
    plan          that, as markers                record     what workloads carry of it
    patches       how that is written             batch      the same, of Jobs
    observe       the cache, in these words       views      what it keeps of it
    supply        sources of a workload           places     which namespaces are ours
    happenings    what a look cannot see
    feeds         what makes it look              optional   kinds that come and go
    filters       what is left out                writer     all that is written
    controller    one look at one workload        webhook    telling instead of doing
    gates         what keeps a reload waiting     terms      what was asked of them
    news          what became of a reload         announcer  who tells the world
    metrics       what is counted                 choices    settings → options
    rehearsal     the writer of a dry run         keys       which of a source count
    hashing       which hashes are shown          asked      ReloaderConfig → Config
    claims        what a Config wants             configs    all of them, by both ends
    configfeed    they come, change and go        lender     what the cache lacks
    wanted        what they are about             entries    the cache, to readers
    journal       reloads, until counted          accounts   what a status counts
    traces        what workloads say of it        sights     what a config comes to
    statuses      what its status says            statusfeeds, statuscontroller …
    explain       which rule decides              preview    that, over HTTP
    alerts        telling chats of it             pause      a rest after each reload
    upkeep        what else falls due             ageing     what the record drops
    memory        records that go back            ledger     Jobs that outlive a crash
    strife        … or that an owner takes away
    progress      how far a rollout is            rollouts   followed to their end
    budget        how many at once                order      which goes first
    room          how many sources a record has   jobs       that are started once
    rollback      taking back what fails          assembly   how all of it meets
    canary        which tries it for the others
    restarts      which pods are evicted          restarter  … step by step
    aftermath     what follows a reload           patterns   regular expressions
    options       what it is told                 permissions  what it may do
    gatehouse     gates in their order            policy     what is asked, of sources
    unwritten     records that may not be written
    recall        Jobs that others left behind

Gates of time: `suspend`, `windows` (`schedules`), `cooldown`, `brake` (`braking`),
`interim`, `debounce` and `rate`; what they remember is `fading`.

The annotations, and the marks left in pod templates, are stakater/Reloader's: a
cluster can change over without a restart. Unlike it, this controller remembers on the
workload what it runs with, so that no change is missed or told twice.
"""

from __future__ import annotations

from controllers.reload.assembly import setup

__all__ = ["setup"]
