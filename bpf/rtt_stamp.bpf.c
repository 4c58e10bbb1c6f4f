/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Reads TCP's time stamp of each packet that leaves a watched host.
 *
 * __tcp_transmit_skb() writes tcp_wstamp_ns into the segment in the retransmission queue (skb_mstamp_ns, from which
 * samples are taken when the ACK arrives) and into the copy that it sends, where it is skb->tstamp until a device has the
 * packet. The tracepoint net:net_dev_start_xmit is right after the packet taps: each outgoing packet in a capture is
 * seen here once, cut into segments already where the device cannot do that.
 *
 * A raw tracepoint needs neither kprobes nor fexit. It works from 5.10 to 7.3.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <stdbool.h>
#include <stddef.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "kernel_types.h"
#include "rtt_event.h"
#include "rtt_stamp.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

struct rtt_sources {
	char sha256[64];
	struct rtt_stamp stamp;
};

const struct rtt_sources sources SEC("rttcheck_sources") __attribute__((used)) = { .sha256 = RTT_SOURCES_SHA256 };

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8 * 1024 * 1024); /* another size may be set before the object is loaded */
} stamps SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct rtt_stamp_config);
} stamp_config SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct rtt_stamp_counts);
} stamp_counts SEC(".maps");

/* Network namespaces by their inode numbers, and which point each is. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, __u8);
} namespaces SEC(".maps");

/* As much of a TCP header as is read. */
struct tcp_start {
	__be16 sport;
	__be16 dport;
	__be32 seq;
	__be32 ack;
	__u8 offset; /* upper half: words of the header */
	__u8 flags;
};

static __always_inline bool is_tcp(const unsigned char *network)
{
	__u8 version = 0, protocol = 0;

	if (bpf_probe_read_kernel(&version, 1, network))
		return false;
	/* IPv4: the protocol is the tenth byte; IPv6: the next header is the seventh. */
	bpf_probe_read_kernel(&protocol, 1, network + ((version >> 4) == 4 ? 9 : 6));
	return protocol == IPPROTO_TCP;
}

SEC("raw_tp/net_dev_start_xmit")
int rtt_stamps(struct bpf_raw_tracepoint_args *ctx)
{
	const struct sk_buff *skb = (const void *)ctx->args[0];
	const struct net_device *dev = (const void *)ctx->args[1];
	const __u32 only = 0;
	const struct rtt_stamp_config *cfg = bpf_map_lookup_elem(&stamp_config, &only);
	struct rtt_stamp_counts *counts = bpf_map_lookup_elem(&stamp_counts, &only);
	__u64 now_ns = bpf_ktime_get_ns();
	const unsigned char *head, *transport;
	struct tcp_start tcp = {};
	struct rtt_stamp *stamp;
	__u32 inode, before;
	__u8 *point;

	if (!cfg || !counts || !cfg->watch)
		return 0;
	inode = BPF_CORE_READ(dev, nd_net.net, ns.inum);
	point = bpf_map_lookup_elem(&namespaces, &inode);
	if (!point)
		return 0;
	head = BPF_CORE_READ(skb, head);
	if (!is_tcp(head + BPF_CORE_READ(skb, network_header)))
		return 0;
	transport = head + BPF_CORE_READ(skb, transport_header);
	if (bpf_probe_read_kernel(&tcp, sizeof(tcp), transport))
		return 0;
	__sync_fetch_and_add(&counts->packets, 1);
	stamp = bpf_ringbuf_reserve(&stamps, sizeof(*stamp), 0);
	if (!stamp) {
		__sync_fetch_and_add(&counts->lost, 1);
		return 0;
	}
	before = transport - BPF_CORE_READ(skb, data) + (tcp.offset >> 4) * 4;
	stamp->time_ns = now_ns;
	stamp->stamp_ns = BPF_CORE_READ(skb, tstamp);
	stamp->seq = bpf_ntohl(tcp.seq);
	stamp->ack = bpf_ntohl(tcp.ack);
	stamp->payload = BPF_CORE_READ(skb, len) - before;
	stamp->watch = cfg->watch;
	stamp->sport = bpf_ntohs(tcp.sport);
	stamp->dport = bpf_ntohs(tcp.dport);
	stamp->flags = tcp.flags;
	stamp->point = *point;
	stamp->reserved = 0;
	bpf_ringbuf_submit(stamp, BPF_RB_NO_WAKEUP);
	return 0;
}
