/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The probe's settings from user space (rtt_config) and its counters for user space (rtt_counts).
 * rttcheck/record/event.py holds both as NumPy dtypes.
 */
#ifndef RTT_PROBE_H
#define RTT_PROBE_H

#include <linux/types.h>

/* nettrace's: [0,1], [2,3], [4,7], ... and all from 65536 up in the last */
#define RTT_BUCKETS 17

enum rtt_mode {
	RTT_MODE_EVENTS = 1,
	RTT_MODE_HISTOGRAM = 2,
	RTT_MODE_WAKE = 4, /* wake a waiting reader at each event; costs the traffic an interrupt */
};

struct rtt_config {
	__u32 modes; /* 0: off */
	__u32 watch;
	__u32 filter_netns; /* 1: only the namespaces in the map `namespaces` */
	__u16 port;         /* 0, or only sockets with this port at either end */
	__u16 hz;
	__s64 first_below_us; /* calls whose first-acked sample is below are ignored, as by nettrace's filter-srtt */
	__s64 last_below_us;  /* the same for the last-acked sample and filter-minrtt */
};

struct rtt_counts {
	__u64 us[RTT_BUCKETS];
	__u64 ms[RTT_BUCKETS];
	__u64 calls;            /* calls that passed all filters, lost ones included */
	__u64 lost_ring_full;
	__u64 lost_no_return;   /* kprobe: the return was missed */
	__u64 lost_calls_full;  /* kprobe: too many calls in progress at once */
	__u64 lost_no_identity; /* the socket could not be distinguished from others */
	__u64 stood_in;         /* fexit: calls that another program recorded because the first one was skipped */
};

#endif /* RTT_PROBE_H */
