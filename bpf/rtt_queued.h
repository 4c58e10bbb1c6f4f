/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * A TCP packet as its host hands it to a device's queueing discipline.
 *
 * rttcheck/collect/wire/queued.py holds the same layout as a NumPy dtype; a test compares the two through the object's
 * BTF.
 */
#ifndef RTT_QUEUED_H
#define RTT_QUEUED_H

#include <linux/types.h>

struct rtt_queued {
	__s64 time_ns;    /* CLOCK_MONOTONIC when the packet was handed over */
	__s64 stamp_ns;   /* skb->tstamp, as in struct rtt_stamp */
	__u32 payload;    /* bytes of data */
	__u32 watch;      /* number of the active watch */
	__u8 network[40]; /* the IP header: all of IPv6's, the first 40 bytes of IPv4's and what follows it */
	__u8 header[60];  /* the TCP header with its options; behind their end anything */
	__u8 point;       /* as in the map `queue_namespaces`: which host it leaves */
	__u8 reserved[3];
};

_Static_assert(sizeof(struct rtt_queued) % 8 == 0, "records in the ring buffer must stay aligned");

#endif /* RTT_QUEUED_H */
