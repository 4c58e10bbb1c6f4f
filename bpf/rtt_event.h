/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The one layout of an event: the record of one sample, or of one call of tcp_ack_update_rtt() that took none.
 *
 * rttcheck/record/event.py holds the same layout as a NumPy dtype; a test compares the two through the
 * object's BTF. Members are ordered so that natural alignment leaves no hole, and the size is a multiple of eight.
 * All members are read when the function returns, except those that are its arguments. A backend that attaches
 * elsewhere cannot read all of them: such times are -1, other members 0, and user space knows which.
 */
#ifndef RTT_EVENT_H
#define RTT_EVENT_H

#include <linux/types.h>

enum rtt_hook {
	RTT_HOOK_FEXIT = 1,
	RTT_HOOK_KRETPROBE = 2,
	RTT_HOOK_SOCKOPS = 3,    /* once a round trip, in the middle of the estimator */
	RTT_HOOK_TRACEPOINT = 4, /* a segment arrived: the state before it is processed */
	RTT_HOOK_BCC = 5,
};

struct rtt_minmax_sample {
	__u32 t; /* jiffies, low 32 bits */
	__u32 v; /* microseconds */
};

/*
 * Whether a thread owned the socket. An ACK that arrives meanwhile waits in the socket's backlog until that thread
 * releases it (tcp_v4_rcv(), release_sock()); otherwise it is processed at once.
 */
enum rtt_owned {
	RTT_OWNED_UNKNOWN = 0,
	RTT_OWNED_NO = 1,
	RTT_OWNED_YES = 2,
};

struct rtt_event {
	__u64 timestamp_ns;  /* CLOCK_MONOTONIC */
	__u64 tcp_mstamp_us; /* the "now" of the samples; 0 in a passive handshake */
	__u64 sk;            /* address of the socket: reused, see generation */
	__u64 cookie;        /* SO_COOKIE, 0 until it is requested */
	__u64 generation;    /* timestamp_ns of the first event of this connection on this sk */
	__s64 first_rtt_us;  /* argument seq_rtt_us */
	__s64 sack_rtt_us;   /* argument sack_rtt_us */
	__s64 last_rtt_us;   /* argument ca_rtt_us */
	__s64 rs_rtt_us;     /* rs->rtt_us: last_rtt_us after the timestamp fallback */
	__s64 sample_us;     /* the estimator's input; -1 when nothing was taken */
	struct rtt_minmax_sample min_rtt[3];
	__u32 srtt_us;       /* as the kernel keeps it: eight times the smoothed RTT */
	__u32 mdev_us;       /* four times the mean deviation */
	__u32 mdev_max_us;
	__u32 rttvar_us;
	__u32 rtt_seq;
	__u32 snd_una;
	__u32 snd_nxt;
	__u32 write_seq;
	__u32 packets_out;
	__u32 retrans_out;
	__u32 sacked_out;
	__u32 lost_out;
	__u32 delivered;
	__u32 mss_cache;
	__u32 rcv_tsecr;     /* last echoed timestamp, valid where saw_tstamp */
	__s32 flag;          /* argument flag */
	__u32 jiffies;       /* low 32 bits, tcp_jiffies32 of this call plus or minus a tick */
	__u32 rto_jiffies;   /* icsk_rto */
	__s32 timer_jiffies; /* from now to the expiry of the timer in `timer`: 0 without one, negative when overdue */
	__s32 wmem_queued;   /* bytes */
	__s32 rmem_alloc;    /* bytes */
	__u32 write_queue;   /* segments, nettrace's mem:(w) */
	__u32 read_queue;    /* segments, nettrace's mem:(r) */
	__u32 netns;         /* inode number of the network namespace */
	__u32 cpu;
	__u32 ifindex;       /* interface the socket last received from, 0 when unknown */
	__u32 pid;           /* thread that was current: often not the socket's owner */
	__u32 watch;         /* number of the watch that was active at the call */
	__u16 hz;            /* jiffies a second */
	__u16 family;        /* AF_INET or AF_INET6 */
	__u16 sport;         /* host byte order */
	__u16 dport;         /* host byte order */
	__u8 saddr[16];      /* network byte order; IPv4 as ::ffff:a.b.c.d */
	__u8 daddr[16];
	__u8 comm[16];
	__u8 state;          /* TCP_ESTABLISHED = 1, ... */
	__u8 ca_state;       /* TCP_CA_Open = 0, ... */
	__u8 taken;          /* what the function returned */
	__u8 hook;           /* enum rtt_hook */
	__u8 timer;          /* icsk_pending */
	__u8 saw_tstamp;
	__u8 backoff;        /* icsk_backoff */
	__u8 owned;          /* enum rtt_owned; 0 in recordings of probes that did not read it */
};

_Static_assert(sizeof(struct rtt_event) % 8 == 0, "records in the ring buffer must stay aligned");

#endif /* RTT_EVENT_H */
