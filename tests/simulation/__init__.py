"""A deterministic world for the shard: one thread, one seed, simulated time, log and hub.

    loop, network      time that jumps to the next timer; processes that are killed or frozen; packets
    cluster, log       a simulated Kafka, and a shard's ports to it; `tests/log_suite` runs on it, too
    hub, process       the payment side with its ledger; a worker: lease, holds, seats
    world              what can be done to all of it
    setting, subject   what a seed chooses about the workers; the real shard, set up that way
    post, upstream, gateways, oncall    who sends what
    storm, upkeep      what goes wrong; what operators do
    scenario, rest     a whole run from a seed; when it has come to rest
    small, systematic  small scenarios with a mishap before each step; `crash_points` says where it found them
    coverage           what the scenarios together have to reach
    campaign           many seeds in several processes; `show` tells one, `shrink` makes it small
    mutants            shards with a broken port, which must be found out

It takes less than what can happen for granted, but not nothing:

- a process stops between two steps of its loop only, so never between a gate and the first byte after it;
  a request that arrives long after its call had ended (`Act.LATE`) has the same effect at the payment side
- the broker loses nothing that it has acknowledged, and its partitions have one replica: that is for
  `tests/faults`, as are the wire, TLS, signatures, and aiokafka itself
- notices and commands that retention deletes before they are taken are not in the stories, requests are
- fingerprint keys are added and made active, but never lost: what they remember cannot be matched any more
"""
