/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "source/proc_internal.h"

/* TCP_LISTEN of include/net/tcp_states.h: unix sockets use the same states. */
enum { STATE_LISTEN = 10 };

struct request {
	struct nlmsghdr header;
	struct unix_diag_req body;
};

/* An abstract name begins with a NUL, which /proc and people write '@'. */
static void keep_name(const struct rtattr *attribute, char ret_name[static PROC_UNIX_NAME_BYTES])
{
	size_t length = RTA_PAYLOAD(attribute);
	const char *bytes = RTA_DATA(attribute);
	if (length >= PROC_UNIX_NAME_BYTES)
		length = PROC_UNIX_NAME_BYTES - 1;
	bool abstract = length && !bytes[0];
	size_t kept = abstract ? length : strnlen(bytes, length);
	for (size_t i = 0; i < kept; i++)
		ret_name[i] = bytes[i] ? bytes[i] : '@';
	ret_name[kept] = '\0';
}

static int parse_answer(const struct nlmsghdr *header, size_t length, struct proc_unix_peer *ret_peer)
{
	struct proc_unix_peer peer = { 0 };
	if (!NLMSG_OK(header, length))
		return -EPROTO;
	if (header->nlmsg_type == NLMSG_ERROR) {
		const struct nlmsgerr *error = NLMSG_DATA(header);
		return header->nlmsg_len >= NLMSG_LENGTH(sizeof(*error)) && error->error ? error->error
											 : -EPROTO;
	}
	if (header->nlmsg_type != SOCK_DIAG_BY_FAMILY ||
	    header->nlmsg_len < NLMSG_LENGTH(sizeof(struct unix_diag_msg)))
		return -EPROTO;
	const struct unix_diag_msg *answer = NLMSG_DATA(header);
	peer.listens = answer->udiag_state == STATE_LISTEN;
	size_t left = header->nlmsg_len - NLMSG_LENGTH(sizeof(*answer));
	for (const struct rtattr *attribute = (const struct rtattr *)(answer + 1); RTA_OK(attribute, left);
	     attribute = RTA_NEXT(attribute, left)) {
		if (attribute->rta_type == UNIX_DIAG_NAME) {
			keep_name(attribute, peer.name);
		} else if (attribute->rta_type == UNIX_DIAG_PEER &&
			   RTA_PAYLOAD(attribute) >= sizeof(uint32_t)) {
			uint32_t inode;
			memcpy(&inode, RTA_DATA(attribute), sizeof(inode));
			peer.peer_inode = inode;
		}
	}
	*ret_peer = peer;
	return 0;
}

int proc_unix_diagnose(uint64_t inode, struct proc_unix_peer *ret_peer)
{
	if (inode > UINT32_MAX)
		return -ENOENT;
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
	if (fd < 0)
		return -errno;
	const struct request request = {
		.header = { .nlmsg_len = sizeof(request),
			    .nlmsg_type = SOCK_DIAG_BY_FAMILY,
			    .nlmsg_flags = NLM_F_REQUEST },
		.body = { .sdiag_family = AF_UNIX,
			  .udiag_states = UINT32_MAX,
			  .udiag_ino = (uint32_t)inode,
			  .udiag_show = UDIAG_SHOW_NAME | UDIAG_SHOW_PEER,
			  /* INET_DIAG_NOCOOKIE: any. */
			  .udiag_cookie = { UINT32_MAX, UINT32_MAX } },
	};
	const struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
	_Alignas(struct nlmsghdr) char answer[1024];
	int err;
	if (sendto(fd, &request, sizeof(request), 0, (const struct sockaddr *)&kernel, sizeof(kernel)) < 0) {
		err = -errno;
		goto out;
	}
	/* The kernel answers inside the call above: nothing to wait for. */
	ssize_t got = recv(fd, answer, sizeof(answer), MSG_DONTWAIT);
	err = got < 0 ? -errno : parse_answer((const struct nlmsghdr *)answer, (size_t)got, ret_peer);
out:
	close(fd);
	return err;
}
