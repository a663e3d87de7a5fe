//! XChaCha20-Poly1305 in place, with the tag apart. Two libraries implement it, and
//! both make the same bytes.

#[cfg(any(test, not(feature = "ring")))]
mod portable;
#[cfg(feature = "ring")]
mod with_ring;

#[cfg(not(feature = "ring"))]
pub(crate) use portable::Cipher;
#[cfg(feature = "ring")]
pub(crate) use with_ring::Cipher;

pub(crate) const KEY_BYTES: usize = 32;
pub(crate) const NONCE_BYTES: usize = 24;
pub(crate) const TAG_BYTES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len() / 2)
            .map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap())
            .collect()
    }

    /// draft-irtf-cfrg-xchacha-03, appendix A.3.1: key, nonce, additional data,
    /// plaintext, ciphertext, tag.
    macro_rules! published_vector {
        ($name:ident, $cipher:ty) => {
            #[test]
            fn $name() {
                let key = std::array::from_fn(|at| 0x80 + at as u8);
                let nonce = std::array::from_fn(|at| 0x40 + at as u8);
                let bound = bytes("50515253c0c1c2c3c4c5c6c7");
                let clear = b"Ladies and Gentlemen of the class of '99: If I could offer you \
                              only one tip for the future, sunscreen would be it.";
                let sealed = bytes(concat!(
                    "bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb",
                    "731c7f1b0b4aa6440bf3a82f4eda7e39ae64c6708c54c216cb96b72e1213b452",
                    "2f8c9ba40db5d945b11b69b982c1bb9e3f3fac2bc369488f76b2383565d3fff9",
                    "21f9664c97637da9768812f615c68b13b52e"
                ));
                let tag = bytes("c0875924c1c7987947deafd8780acf49");
                let cipher = <$cipher>::new(&key);
                let mut buffer = clear.to_vec();
                let made = cipher.seal(&nonce, &bound, &mut buffer).unwrap();
                assert_eq!((&buffer, made.to_vec()), (&sealed, tag));
                assert!(cipher.open(&nonce, &bound, &mut buffer, &made));
                assert_eq!(buffer, clear);
                let mut buffer = sealed;
                buffer[0] ^= 1;
                assert!(!cipher.open(&nonce, &bound, &mut buffer, &made));
            }
        };
    }

    published_vector!(
        the_portable_cipher_makes_the_published_bytes,
        portable::Cipher
    );
    #[cfg(feature = "ring")]
    published_vector!(ring_makes_the_published_bytes, with_ring::Cipher);

    #[cfg(feature = "ring")]
    proptest::proptest! {
        #[test]
        fn each_opens_what_the_other_sealed(
            key: [u8; KEY_BYTES],
            nonce: [u8; NONCE_BYTES],
            bound: Vec<u8>,
            clear in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..5_000),
        ) {
            let (one, other) = (portable::Cipher::new(&key), with_ring::Cipher::new(&key));
            let (mut by_one, mut by_other) = (clear.clone(), clear.clone());
            let tag = one.seal(&nonce, &bound, &mut by_one).unwrap();
            assert_eq!(tag, other.seal(&nonce, &bound, &mut by_other).unwrap());
            assert_eq!(by_one, by_other);
            assert!(one.open(&nonce, &bound, &mut by_other, &tag));
            assert!(other.open(&nonce, &bound, &mut by_one, &tag));
            assert_eq!((&by_one, &by_other), (&clear, &clear));
        }
    }
}
