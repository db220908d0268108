/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Trees of pages, from the root down.  A page that was seen before is damage, so
 * no ring of pages is walked for ever; the depth is bounded by what the root
 * says.  One page for each level is held.
 */
#include <stdlib.h>

#include "walk_private.h"

struct node {
	const uint8_t *key;
	size_t key_bytes;
	unsigned flags;
	uint64_t at; /* of its data in the file */
	uint64_t bytes;
	const uint8_t *data; /* of small ones */
	uint64_t child; /* in a branch */
};

struct descent {
	struct walk *w;
	const char *name;
	struct tree tree;
	bool numbers; /* keys are u64 and not bytes */
	uint64_t rows_n;
	bool has_last;
	size_t last_bytes;
	uint8_t last[NODE_KEY_MOST_BYTES]; /* the key before */
	uint8_t *pages[TREE_DEPTH_MOST];
	void (*row)(struct descent *d, const struct node *node, void *arg);
	void *arg;
};

/* ---- pages ---- */

/* Note that a page is in use; false: it does not exist, or is already. */
static bool
claim(struct walk *w, uint64_t page)
{
	uint8_t bit;

	if (page >= w->pages_n)
		return false;
	bit = (uint8_t)(1u << page % 8);
	if ((w->seen[page / 8] & bit) != 0)
		return false;
	w->seen[page / 8] |= bit;
	return true;
}

static const uint8_t *
load(struct descent *d, uint64_t page, unsigned level)
{
	struct walk *w = d->w;
	const size_t bytes = w->root.page_bytes;
	uint8_t *at;

	if (!claim(w, page)) {
		walk_tell(w, "table %s: page %llu %s", d->name,
		    (unsigned long long)page,
		    page >= w->pages_n ? "does not exist" : "is used twice");
		return NULL;
	}
	if (d->pages[level] == NULL &&
	    (d->pages[level] = malloc(bytes)) == NULL)
		abort();
	at = d->pages[level];
	if (walk_read(w, page * bytes, at, bytes))
		return at;
	walk_tell(w, "table %s: page %llu cannot be read", d->name,
	    (unsigned long long)page);
	return NULL;
}

/* What is wrong with the head of a page of nodes; NULL: nothing. */
static const char *
check_head(
    const struct descent *d, const uint8_t *at, uint64_t page, unsigned level)
{
	const unsigned lower = get16(at + PAGE_LOWER_AT);
	const unsigned upper = get16(at + PAGE_UPPER_AT);
	const bool leaf = level + 1 == d->tree.depth;
	unsigned least_n = leaf || d->numbers ? 1 : 2;

	if (get64(at) != page)
		return "is another page";
	if (get16(at + PAGE_FLAGS_AT) != (leaf ? PAGE_LEAF : PAGE_BRANCH))
		return "is of another kind";
	if (lower < PAGE_HEAD_BYTES || lower > upper ||
	    upper > d->w->root.page_bytes || lower % 2 != 0)
		return "has impossible bounds";
	if ((lower - PAGE_HEAD_BYTES) / 2 < least_n)
		return "has too few rows";
	return NULL;
}

/* ---- nodes ---- */

/* The bytes that the node takes in its page; 0: it reaches beyond. */
static size_t
read_node(const struct descent *d, const uint8_t *at, uint64_t page, size_t i,
    bool leaf, struct node *node)
{
	const size_t page_bytes = d->w->root.page_bytes;
	const size_t offset = get16(at + PAGE_HEAD_BYTES + 2 * i);
	const uint8_t *head = at + offset;
	size_t room, need;

	if (offset < get16(at + PAGE_UPPER_AT) ||
	    offset + NODE_HEAD_BYTES > page_bytes)
		return 0;
	room = page_bytes - offset - NODE_HEAD_BYTES;
	*node = (struct node){.flags = get16(head + 4),
	    .key = head + NODE_HEAD_BYTES,
	    .key_bytes = get16(head + 6),
	    .bytes = get32(head)};
	if (node->key_bytes > NODE_KEY_MOST_BYTES || node->key_bytes > room)
		return 0;
	need = node->key_bytes;
	node->data = node->key + need;
	node->at = page * page_bytes + offset + NODE_HEAD_BYTES + need;
	if (!leaf)
		node->child = get32(head) | (uint64_t)node->flags << 32;
	else if ((node->flags & NODE_LARGE) != 0)
		need += sizeof(uint64_t);
	else if (node->bytes > room)
		return 0;
	else
		need += (size_t)node->bytes;
	if (need > room)
		return 0;
	need += NODE_HEAD_BYTES;
	return need + need % 2;
}

/* A value on pages of its own. */
static bool
check_large(struct descent *d, struct node *node)
{
	const uint64_t page = get64(node->data), size = d->w->root.page_bytes;
	const uint64_t need_n =
	    (PAGE_HEAD_BYTES + node->bytes + size - 1) / size;
	uint8_t head[PAGE_HEAD_BYTES];
	uint64_t n;

	if (page < 2 || page >= d->w->pages_n ||
	    !walk_read(d->w, page * size, head, sizeof(head)))
		return false;
	n = get32(head + PAGE_COUNT_AT);
	if (get64(head) != page || get16(head + PAGE_FLAGS_AT) != PAGE_LARGE ||
	    n < need_n || n > d->w->pages_n - page)
		return false;
	for (uint64_t i = 0; i < n; i++) {
		if (!claim(d->w, page + i))
			return false;
	}
	node->at = page * size + PAGE_HEAD_BYTES;
	return true;
}

static int
compare(const struct descent *d, const struct node *node)
{
	size_t least =
	    node->key_bytes < d->last_bytes ? node->key_bytes : d->last_bytes;
	int order;

	if (d->numbers)
		return get64(node->key) > get64(d->last) ? 1 : -1;
	order = memcmp(node->key, d->last, least);
	if (order != 0)
		return order;
	return node->key_bytes > d->last_bytes ? 1 : -1;
}

static bool
check_key(struct descent *d, const struct node *node)
{
	bool good = node->key_bytes > 0;

	if (d->numbers && node->key_bytes != sizeof(uint64_t))
		return false;
	if (good && d->has_last)
		good = compare(d, node) > 0;
	memcpy(d->last, node->key, node->key_bytes);
	d->last_bytes = node->key_bytes;
	d->has_last = true;
	return good;
}

static void
take_row(struct descent *d, struct node *node, uint64_t page, size_t i)
{
	const char *wrong = NULL;

	d->rows_n++;
	if (!check_key(d, node))
		wrong = "has a key that does not belong there";
	else if ((node->flags & NODE_DUPLICATES) != 0 ||
	    node->flags > (NODE_LARGE | NODE_TREE))
		wrong = "has unknown flags";
	else if ((node->flags & NODE_LARGE) != 0 && !check_large(d, node))
		wrong = "has its data on pages that are not its own";
	if (wrong != NULL)
		walk_tell(d->w, "table %s: row %zu of page %llu %s", d->name, i,
		    (unsigned long long)page, wrong);
	else
		d->row(d, node, d->arg);
}

/* ---- trees ---- */

static void walk_page(struct descent *d, uint64_t page, unsigned level);

static void
walk_nodes(struct descent *d, const uint8_t *at, uint64_t page, unsigned level)
{
	const bool leaf = level + 1 == d->tree.depth;
	const size_t n =
	    (get16(at + PAGE_LOWER_AT) - (size_t)PAGE_HEAD_BYTES) / 2;
	size_t used = get16(at + PAGE_UPPER_AT), bytes;
	struct node node;

	for (size_t i = 0; i < n; i++) {
		bytes = read_node(d, at, page, i, leaf, &node);
		used += bytes;
		if (bytes == 0 || used > d->w->root.page_bytes) {
			walk_tell(d->w,
			    "table %s: row %zu of page %llu reaches beyond it",
			    d->name, i, (unsigned long long)page);
			d->rows_n += leaf;
		} else if (leaf) {
			take_row(d, &node, page, i);
		} else {
			walk_page(d, node.child, level + 1);
		}
	}
}

/* No deeper than TREE_DEPTH_MOST. */
static void
walk_page(struct descent *d, uint64_t page, unsigned level)
{
	const uint8_t *at = load(d, page, level);
	const char *wrong;

	if (at == NULL)
		return;
	wrong = check_head(d, at, page, level);
	if (wrong == NULL)
		walk_nodes(d, at, page, level);
	else
		walk_tell(d->w, "table %s: page %llu %s", d->name,
		    (unsigned long long)page, wrong);
}

static void
walk_tree(struct walk *w, const char *name, const struct tree *tree,
    bool numbers,
    void (*row)(struct descent *d, const struct node *node, void *arg),
    void *arg)
{
	struct descent d = {.w = w,
	    .name = name,
	    .tree = *tree,
	    .numbers = numbers,
	    .row = row,
	    .arg = arg};
	const size_t before_n = w->damages_n;

	if (tree->root == NO_PAGE)
		return;
	walk_page(&d, tree->root, 0);
	if (w->damages_n == before_n && d.rows_n != tree->rows_n)
		walk_tell(w, "table %s: it has %llu rows and should have %llu",
		    name, (unsigned long long)d.rows_n,
		    (unsigned long long)tree->rows_n);
	for (unsigned i = 0; i < TREE_DEPTH_MOST; i++)
		free(d.pages[i]);
}

/* ---- what is in them ---- */

static void
on_row(struct descent *d, const struct node *node, void *arg)
{
	const enum table *table = arg;
	const struct walk_row row = {
	    node->key, node->key_bytes, node->at, node->bytes};

	d->w->visitor->row(*table, &row, d->w->visitor->arg);
}

static void
on_foreign(struct descent *d, const struct node *node, void *arg)
{
	(void)d;
	(void)node;
	(void)arg;
}

/* Whether the pages of a tree can be walked at all. */
static bool
is_sound(const struct tree *tree)
{
	if (tree->root == NO_PAGE)
		return tree->depth == 0 && tree->rows_n == 0;
	return tree->depth > 0 && tree->depth < TREE_DEPTH_MOST;
}

static void
walk_table(struct walk *w, enum table table, const struct tree *tree)
{
	const char *name = walk_table_name(table);

	if (tree->flags != 0)
		walk_tell(w, "table %s: what is said of it cannot be", name);
	else
		walk_tree(w, name, tree, false, on_row, &table);
}

static void
on_table(struct descent *d, const struct node *node, void *arg)
{
	bool *found = arg;
	struct tree tree;

	if ((node->flags & NODE_TREE) == 0 || node->bytes != TREE_BYTES ||
	    (node->flags & NODE_LARGE) != 0) {
		walk_tell(d->w, "the list of tables has something else in it");
		return;
	}
	tree = walk_tree_parse(node->data);
	if (!is_sound(&tree)) {
		walk_tell(d->w, "what is said of a table cannot be");
		return;
	}
	for (enum table i = 0; i < TABLES; i++) {
		const char *name = walk_table_name(i);

		if (node->key_bytes != strlen(name) ||
		    memcmp(node->key, name, node->key_bytes) != 0)
			continue;
		found[i] = true;
		walk_table(d->w, i, &tree);
		return;
	}
	/* Of a newer format, which others refuse by its number. */
	walk_tree(d->w, "of a newer format", &tree, false, on_foreign, NULL);
}

/* One transaction's free pages: a count, and so many numbers, falling. */
static void
on_free(struct descent *d, const struct node *node, void *arg)
{
	struct walk *w = d->w;
	uint64_t n, page, last = NO_PAGE;
	uint8_t *list = NULL;

	(void)arg;
	if (node->bytes < sizeof(n) ||
	    (list = malloc((size_t)node->bytes)) == NULL ||
	    !walk_read(w, node->at, list, (size_t)node->bytes)) {
		walk_tell(w, "a list of free pages cannot be read");
		free(list);
		return;
	}
	n = get64(list);
	if (n > node->bytes / sizeof(n) - 1 ||
	    get64(node->key) > w->root.transaction) {
		walk_tell(w, "a list of free pages cannot be");
		n = 0;
	}
	for (uint64_t i = 0; i < n; i++) {
		page = get64(list + sizeof(n) * (size_t)(i + 1));
		if (page >= last || page < 2 || !claim(w, page)) {
			walk_tell(w, "page %llu is said to be free and is not",
			    (unsigned long long)page);
			break;
		}
		last = page;
		w->free_n++;
	}
	free(list);
}

void
walk_tree_all(struct walk *w)
{
	bool found[TABLES] = {false};

	if (w->root.main.root != NO_PAGE)
		walk_tree(
		    w, "of tables", &w->root.main, false, on_table, found);
	for (enum table i = 0; i < TABLES; i++) {
		if (!found[i] && w->root.transaction > 0)
			walk_tell(w, "table %s is missing", walk_table_name(i));
	}
	walk_tree(w, "of free pages", &w->root.free, true, on_free, NULL);
}
