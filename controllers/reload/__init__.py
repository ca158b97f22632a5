"""Workloads restart when the ConfigMaps and Secrets that they use change.

    annotations   what a workload asks for      metrics     what is counted
    references    what its pods use             choices     settings → options
    rollout       what to write, if anything    entries     the cache, to readers
    workloads     all kinds in one view         explain     which rule decides
    plan          that, as markers              preview     that, over HTTP
    record        what workloads carry of it    alerts      telling chats of it
    observe       the cache, in these words
    room          how many sources a record has
    views         what it keeps of it           assembly    how all of it meets
    supply        sources of a workload         restarter   evicts, step by step
    places        which namespaces are ours     aftermath   what follows a reload
    happenings    what a look cannot see        patterns    regular expressions
    filters       what is left out              options     what it is told
    controller    one look at one workload      permissions what it may do
    terms         what was asked of them        gatehouse   gates in their order
    news          what became of a reload       policy      what is asked, of sources
    announcer     who tells the world           braking     how hard it brakes

    sources/    ConfigMaps, Secrets and what counts of them
      digest        content → hashes            hashing     which hashes are shown
      keys          which of a source count

    gates/      what keeps a reload waiting
      suspend       somebody says wait          debounce    more may follow
      windows       not at this time            rate        so many a second
      schedules     cron, with time zones       interim     somebody is about to fill it
      cooldown      not so soon again           fading      what they remember
      brake         not so many

    configs/    what ReloaderConfigs ask for
      asked         ReloaderConfig → Config     lender      what the cache lacks
      claims        what a Config wants         wanted      what they are about

    rollouts/   what follows a reload
      progress      how far a rollout is
      canary        which tries it for the others
      budget        how many at once            restarts    which pods are evicted
      order         which goes first

    feeds/      what makes it look
      optional      kinds that come and go      configs     they come, change and go

    writing/    all that is written to workloads
      patches       how that is written         memory      records that go back
      batch         the same, of Jobs           ledger      Jobs that outlive a crash
      writer        all that is written
      strife        records that an owner takes away
      webhook       telling instead of doing    jobs        that are started once
      rehearsal     the writer of a dry run     rollback    taking back what fails
      pause         a rest after each reload
      unwritten     records that may not be written
      upkeep        what else falls due         recall      Jobs that others left behind
      ageing        what the record drops

    status/     what ReloaderConfigs say
      journal       reloads, until counted      statuses    what its status says
      accounts      what a status counts        feeds       what makes it look
      traces        what workloads say of it    controller  one look at a config
      sights        what a config comes to

The annotations, and the marks left in pod templates, are stakater/Reloader's: a
cluster can change over without a restart. Unlike it, this controller remembers on the
workload what it runs with, so that no change is missed or told twice.
"""

from __future__ import annotations

from controllers.reload.assembly import setup

__all__ = ["setup"]
