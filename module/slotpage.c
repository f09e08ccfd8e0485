// SPDX-License-Identifier: GPL-2.0-only
/*
 * The slot page: a record for each slot, which the process writes to and the
 * module believes nothing of.
 */
#include <linux/mm.h>
#include <linux/slab.h>

#include "sockbeat.h"

#define SB_SLOTS_PER_PAGE	(PAGE_SIZE / sizeof(struct sockbeat_slot))

/**
 * sb_slotpage_alloc - make room for a session's slot page, of which nothing is
 *		       there yet
 * @session: the session, with its capacity
 *
 * Context: process, may sleep.
 * Return: whether there was memory.
 */
bool sb_slotpage_alloc(struct sb_session *session)
{
	session->n_pages = DIV_ROUND_UP(session->capacity, SB_SLOTS_PER_PAGE);
	session->pages = kvcalloc(session->n_pages, sizeof(*session->pages),
				  GFP_KERNEL_ACCOUNT | __GFP_NOWARN);
	return session->pages;
}

/**
 * sb_slotpage_free - undo sb_slotpage_alloc()
 * @session: the session, of which there is no mapping
 *
 * Context: process, may sleep.
 */
void sb_slotpage_free(struct sb_session *session)
{
	u32 i;

	for (i = 0; session->pages && i < session->n_pages; i++) {
		if (session->pages[i])
			__free_page(session->pages[i]);
		if (i % 1024 == 0)
			cond_resched();
	}
	kvfree(session->pages);
}

/**
 * sb_session_slot - a slot's record in the slot page
 * @session: the session
 * @index: the slot
 *
 * Return: the record, which the process writes to at any time, or NULL where
 * it has touched none.
 */
struct sockbeat_slot *sb_session_slot(struct sb_session *session, u32 index)
{
	struct page *page = READ_ONCE(session->pages[index / SB_SLOTS_PER_PAGE]);
	struct sockbeat_slot *slots;

	if (!page)
		return NULL;
	slots = page_address(page);
	return &slots[index % SB_SLOTS_PER_PAGE];
}

/**
 * sb_session_stamp - read a peer's beat stamp from the slot page
 * @session: the session
 * @index: the peer's slot
 *
 * Return: whatever the process wrote there, 0 where it wrote nothing.
 */
u64 sb_session_stamp(struct sb_session *session, u32 index)
{
	struct sockbeat_slot *slot = sb_session_slot(session, index);

	return slot ? READ_ONCE(slot->beat_ms) : 0;
}

/**
 * sb_session_clear_slot - make the slot page forget a slot's last peer
 * @session: the session
 * @index: the slot
 */
void sb_session_clear_slot(struct sb_session *session, u32 index)
{
	struct sockbeat_slot *slot = sb_session_slot(session, index);

	if (!slot)
		return;
	WRITE_ONCE(slot->beat_ms, 0);
	WRITE_ONCE(slot->generation, 0);
}

/* Pages of the slot page come into being when the process touches them. */
static vm_fault_t sb_slotpage_fault(struct vm_fault *vmf)
{
	struct sb_session *session = vmf->vma->vm_file->private_data;
	struct page *page, *old;

	if (vmf->pgoff >= session->n_pages)
		return VM_FAULT_SIGBUS;
	page = READ_ONCE(session->pages[vmf->pgoff]);
	if (!page) {
		page = alloc_page(GFP_KERNEL_ACCOUNT | __GFP_ZERO);
		if (!page)
			return VM_FAULT_OOM;
		old = cmpxchg(&session->pages[vmf->pgoff], NULL, page);
		if (old) {
			__free_page(page);
			page = old;
		}
	}
	get_page(page);
	vmf->page = page;
	return 0;
}

static const struct vm_operations_struct sb_slotpage_vm_ops = {
	.fault = sb_slotpage_fault,
};

/**
 * sb_slotpage_mmap - map a session's slot page
 * @file: the session's file
 * @vma: where to
 *
 * Context: process, may sleep.
 * Return: 0, or -EINVAL for a private mapping and for one beyond the slots.
 */
int sb_slotpage_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct sb_session *session = file->private_data;

	/* A private copy would be written to in vain. */
	if (!(vma->vm_flags & VM_SHARED))
		return -EINVAL;
	if (vma->vm_pgoff >= session->n_pages ||
	    vma_pages(vma) > session->n_pages - vma->vm_pgoff)
		return -EINVAL;
	vma->vm_ops = &sb_slotpage_vm_ops;
	return 0;
}
