/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* Which associations and paths user space wants to see. Included after struct accounting. */
#ifndef FILTER_H
#define FILTER_H

#include "owner.h"
#include "shared.h"

/* Does the filter let this association through, whatever its paths? */
static __always_inline bool wanted_assoc(bool trusted, struct sctp_association *asoc)
{
	if (!settings.want_filter)
		return true;
	if (settings.filter.assoc_id &&
	    GET(trusted, asoc, assoc_id) != (__s32)settings.filter.assoc_id)
		return false;
	if (settings.filter.lport &&
	    GET(trusted, asoc, base.bind_addr.port) != settings.filter.lport)
		return false;
	if (settings.filter.rport && GET(trusted, asoc, peer.port) != settings.filter.rport)
		return false;
	if (settings.filter.netns && netns_of(trusted, asoc) != settings.filter.netns)
		return false;
	if (settings.filter.tgid) {
		__u64 sk = (__u64)GET(trusted, asoc, base.sk);

		if (!bpf_map_lookup_elem(&owned, &sk))
			return false;
	}
	return true;
}

/* ... and this path of it, or, without one, the primary path? */
static __always_inline bool wanted(bool trusted, struct sctp_association *asoc,
				   struct sctp_transport *transport)
{
	bool is_path = true;

	if (!settings.want_filter)
		return true;
	if (!transport)
		transport = GET(trusted, asoc, peer.primary_path);
	if (settings.filter.family)
		is_path = addr_is(&transport->ipaddr) || addr_is(&transport->saddr);
	if (is_path && wanted_assoc(trusted, asoc))
		return true;
	if (!*(volatile __u32 *)&shared.passed_over) /* other CPUs read that cache line */
		shared.passed_over = true;
	return false;
}

#endif
