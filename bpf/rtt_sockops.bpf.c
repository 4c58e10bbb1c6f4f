/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Records samples through BPF_SOCK_OPS_RTT_CB, a stable interface (since Linux 5.3) that needs neither kprobes nor fexit.
 *
 * tcp_rtt_estimator() calls it for a socket's first sample and then for the first one of each round trip: when snd_una
 * has passed rtt_seq. At that moment mdev_us, mdev_max_us, rttvar_us, rtt_seq and rtt_min include the sample already,
 * srtt_us and icsk_rto do not. Since 6.10 the sample and the resulting srtt_us are arguments; before, there are none.
 * A socket's first sample then follows from mdev_us; for later ones only RACK's time of the last segment delivered by
 * this ACK can be read: the last-acked sample, as long as segments arrive in order.
 */
#include <linux/bpf.h>
#include <stdbool.h>
#include <stddef.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#include "rtt_record.h"

#define TCP_SYN_SENT 2
#define TCP_SYN_RECV 3
#define TCP_CA_OPEN 0

/*
 * Nothing was lost, SACKed or probed for: RACK's last delivered segment is the last-acked one, and was sent
 * once. tcp_ack() leaves these states only after the sample was taken.
 */
static __always_inline bool in_order(const struct tcp_sock *tp)
{
	const struct inet_connection_sock *icsk = (const void *)tp;

	return BPF_CORE_READ_BITFIELD(icsk, icsk_ca_state) == TCP_CA_OPEN && !tp->sacked_out &&
	       !tp->tlp_high_seq;
}

static __always_inline void sampled(struct bpf_sock_ops *ctx, const struct rtt_config *cfg, const struct tcp_sock *tp)
{
	__u8 state = ((const struct sock *)tp)->__sk_common.skc_state;
	__u32 sample_us = ctx->args[0], srtt_us = ctx->args[1];
	struct rtt_reading saw = {};

	saw.sk = (const void *)tp;
	saw.first_rtt_us = saw.sack_rtt_us = saw.last_rtt_us = saw.rs_rtt_us = saw.sample_us = -1;
	if (state == TCP_SYN_SENT || state == TCP_SYN_RECV)
		saw.flag = FLAG_SYN_ACKED;
	if (sample_us || srtt_us) {
		saw.sample_us = sample_us;
		saw.srtt_us = srtt_us ? srtt_us : 1; /* as tcp_rtt_estimator() is about to store it */
	} else if (!tp->srtt_us) {
		/* The first sample m of a socket: tcp_rtt_estimator() has set mdev_us to m << 1. */
		saw.sample_us = tp->mdev_us >> 1;
		saw.srtt_us = saw.sample_us ? saw.sample_us << 3 : 1;
	} else if (state != TCP_SYN_RECV && in_order(tp)) { /* a SYN-ACK is never in RACK's queue */
		saw.last_rtt_us = tp->rack.rtt_us;
	}
	saw.counted_us = saw.sample_us >= 0 ? saw.sample_us : saw.last_rtt_us;
	saw.watch = cfg->watch;
	saw.taken = 1;
	saw.hook = RTT_HOOK_SOCKOPS;
	record(cfg, &saw, NULL, true);
}

/*
 * A socket calls with its samples once its flag is set; a connection inherits the flag from the listening socket.
 * Only sockets of watched namespaces get it.
 */
SEC("sockops")
int rtt_sockops(struct bpf_sock_ops *ctx)
{
	const struct rtt_config *cfg = current_config();
	const struct tcp_sock *tp;
	__u32 op = ctx->op;

	if (!cfg || !ctx->is_fullsock || !ctx->sk)
		return 1;
	if (op != BPF_SOCK_OPS_RTT_CB && op != BPF_SOCK_OPS_TCP_CONNECT_CB && op != BPF_SOCK_OPS_TCP_LISTEN_CB &&
	    op != BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB && op != BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB)
		return 1;
	tp = bpf_skc_to_tcp_sock(ctx->sk);
	if (!tp || !is_watched(cfg, (const void *)tp, true))
		return 1;
	if (op == BPF_SOCK_OPS_RTT_CB)
		sampled(ctx, cfg, tp);
	else
		bpf_sock_ops_cb_flags_set(ctx, ctx->bpf_sock_ops_cb_flags | BPF_SOCK_OPS_RTT_CB_FLAG);
	return 1;
}
