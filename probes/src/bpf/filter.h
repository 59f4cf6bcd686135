/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * The filter: which associations and paths to trace (settings.filter). A .bpf.c file defines struct
 * accounting before it includes this file (see shared.h).
 */
#ifndef FILTER_H
#define FILTER_H

#include "assoc.h"

/* Returns whether the filter takes an association. Leaves the filter's address out of account. */
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
	return !(settings.filter.tgid || settings.filter.cgroup) ||
	       is_owned(GET(trusted, asoc, base.sk));
}

/*
 * Returns whether the filter takes an association and one of its paths, `transport`, which is not
 * NULL. An address in the filter must be one of the path's two: the peer's or our own. If the
 * filter does not take them, sets shared.passed_over.
 */
static __always_inline bool wanted_on(bool trusted, struct sctp_association *asoc,
				      struct sctp_transport *transport)
{
	bool is_path = true;

	if (!settings.want_filter)
		return true;
	if (settings.filter.family)
		is_path = addr_is(&transport->ipaddr) || addr_is(&transport->saddr);
	if (is_path && wanted_assoc(trusted, asoc))
		return true;
	/* Writes only the first time: each write would take the cache line from other CPUs. */
	if (!*(volatile __u32 *)&shared.passed_over)
		shared.passed_over = true;
	return false;
}

/* The same as wanted_on(), but `transport` may be NULL, which stands for the primary path. */
static __always_inline bool wanted(bool trusted, struct sctp_association *asoc,
				   struct sctp_transport *transport)
{
	if (!settings.want_filter)
		return true;
	if (!transport)
		transport = GET(trusted, asoc, peer.primary_path);
	return wanted_on(trusted, asoc, transport);
}

#endif
