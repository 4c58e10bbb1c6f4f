/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The time stamp that TCP put on a packet, read where the packet leaves its host.
 *
 * rttcheck/record/stamp.py holds the same layout as a NumPy dtype; a test compares the two through the object's
 * BTF.
 */
#ifndef RTT_STAMP_H
#define RTT_STAMP_H

#include <linux/types.h>

struct rtt_stamp {
	__s64 time_ns;  /* CLOCK_MONOTONIC when the packet was passed to its device */
	__s64 stamp_ns; /* skb->tstamp: for TCP's own packets tcp_wstamp_ns, CLOCK_MONOTONIC; 0 for none */
	__u32 seq;
	__u32 ack;
	__u32 payload;  /* bytes of data */
	__u32 watch;    /* number of the active watch */
	__u16 sport;    /* host byte order */
	__u16 dport;
	__u8 flags;     /* the fourteenth byte of the TCP header */
	__u8 point;     /* as in the map `namespaces`: which host it left */
	__u16 reserved;
};

_Static_assert(sizeof(struct rtt_stamp) % 8 == 0, "records in the ring buffer must stay aligned");

struct rtt_stamp_config {
	__u32 watch; /* 0 is off */
	__u32 reserved;
};

struct rtt_stamp_counts {
	__u64 packets;
	__u64 lost; /* the ring was full */
};

#endif /* RTT_STAMP_H */
