/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "proof.h"

#define TEXT(s) ((struct text){s, sizeof(s) - 1})

static void
is_hex(const uint8_t mac[PROOF_BYTES], const char *hex)
{
	char text[2 * PROOF_BYTES + 1];

	for (size_t i = 0; i < PROOF_BYTES; i++)
		snprintf(text + 2 * i, 3, "%02x", mac[i]);
	cr_assert_str_eq(text, hex);
}

/* RFC 4231, test cases 1 to 4, 6 and 7; 5 is of a truncated output. */
Test(proof, hmac_is_what_rfc_4231_says)
{
	static char aa[131], dd[50], cd[50], steps[25], ob[20];
	const struct {
		struct text key, data;
		const char *hex;
	} cases[] = {
	    {{ob, 20}, TEXT("Hi There"),
		"b0344c61d8db38535ca8afceaf0bf12b"
		"881dc200c9833da726e9376c2e32cff7"},
	    {TEXT("Jefe"), TEXT("what do ya want for nothing?"),
		"5bdcc146bf60754e6a042426089575c7"
		"5a003f089d2739839dec58b964ec3843"},
	    {{aa, 20}, {dd, 50},
		"773ea91e36800e46854db8ebd09181a7"
		"2959098b3ef8c122d9635514ced565fe"},
	    {{steps, 25}, {cd, 50},
		"82558a389a443c0ea4cc819899f2083a"
		"85f0faa3e578f8077a2e3ff46729665b"},
	    {{aa, 131},
		TEXT("Test Using Larger Than Block-Size Key - Hash Key "
		     "First"),
		"60e431591ee0b67f0d8a26aacbf5b77f"
		"8e0bc6213728c5140546040f0ee37f54"},
	    {{aa, 131},
		TEXT("This is a test using a larger than block-size key and "
		     "a larger than block-size data. The key needs to be "
		     "hashed before being used by the HMAC algorithm."),
		"9b09ffa71b942fcb27635fbcd5b0e944"
		"bfdc63644f0713938a7f51535c3a35e2"},
	};
	uint8_t mac[PROOF_BYTES];

	memset(aa, 0xaa, sizeof(aa));
	memset(dd, 0xdd, sizeof(dd));
	memset(cd, 0xcd, sizeof(cd));
	memset(ob, 0x0b, sizeof(ob));
	for (size_t i = 0; i < sizeof(steps); i++)
		steps[i] = (char)(i + 1);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		cr_assert(proof_hmac(cases[i].key, cases[i].data, mac));
		is_hex(mac, cases[i].hex);
	}
}

static struct proof_input
input(void)
{
	struct proof_input in = {
	    .secret = TEXT("a secret of sixteen bytes or more"),
	    .producer = TEXT("render-box"),
	    .instance = UINT64_C(0x0123456789abcdef)};

	for (uint8_t i = 0; i < PROOF_NONCE_BYTES; i++) {
		in.nonce[i] = i;
		in.salt[i] = (uint8_t)(i + PROOF_NONCE_BYTES);
	}
	return in;
}

/* Made by Python's hmac from protocol.md §12. */
Test(proof, proofs_and_token_are_what_the_protocol_says)
{
	const struct proof_input in = input();
	uint8_t mac[PROOF_BYTES];

	cr_assert(proof_make(PROOF_PRODUCER, &in, mac));
	is_hex(mac,
	    "27350ede6540ba7bef8819761dd4406200820ef1b979fd8890900bf366817c15");
	cr_assert(proof_make(PROOF_DAEMON, &in, mac));
	is_hex(mac,
	    "6b835168755a1d1f0085c79f358ad482a1f88e6b0e911c9398f9ee85bf22f976");
	cr_assert(proof_token(in.secret, in.producer, mac));
	is_hex(mac,
	    "f9c30db35645c73e7785d901d45a33c031b915add55b3b6a9e7ed78b45c0f775");
}

Test(proof, a_proof_is_good_for_nothing_but_what_it_was_made_for)
{
	const struct proof_input right = input();
	struct proof_input others[5];
	uint8_t mac[PROOF_BYTES];
	struct text shown = {(const char *)mac, PROOF_BYTES};

	for (size_t i = 0; i < 5; i++)
		others[i] = right;
	others[0].secret = TEXT("a secret of sixteen bytes or less");
	others[1].producer = TEXT("render-bo");
	others[2].instance++;
	others[3].nonce[31] ^= 1;
	others[4].salt[0] ^= 128;
	cr_assert(proof_make(PROOF_PRODUCER, &right, mac));
	cr_assert(proof_check(PROOF_PRODUCER, &right, shown));
	cr_assert_not(proof_check(PROOF_DAEMON, &right, shown));
	for (size_t i = 0; i < 5; i++)
		cr_assert_not(
		    proof_check(PROOF_PRODUCER, &others[i], shown), "%zu", i);
	for (size_t i = 0; i < PROOF_BYTES; i++) {
		mac[i] ^= 4;
		cr_assert_not(proof_check(PROOF_PRODUCER, &right, shown));
		mac[i] ^= 4;
	}
	shown.bytes--;
	cr_assert_not(proof_check(PROOF_PRODUCER, &right, shown));
	shown.bytes = 0;
	cr_assert_not(proof_check(PROOF_PRODUCER, &right, shown));
}
