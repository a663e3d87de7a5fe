//! A provider of the test's own sends logouts to an engine: what ends, and what is refused.

#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

mod bad_tokens;
mod ends;
mod key_sets;
mod site;

/// Private keys on P-256 that guard nothing, as PKCS #8 in base64.
const KEY: &str = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg0TrSkWO6OfnnPVf21Ixx/LiFrA1h1aZodNRWlJpc\
    6hyhRANCAASDL8Qb6pSk5TFfAuOKJ04NRjX4cYN2Uosa8bgtIsR/7b9vNlFtIPbBND/DG8iJJQS1ayOzzYNiO3hD\
    FDLf4Xyq";
const OTHER_KEY: &str = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgpWAT9Xe0U0dSPPvfOqxmmevarLcxp+6VTiRarCEz\
    vmuhRANCAASj+8LzQFlMX95evoxRVf92woOKm147danJRFrx95DcU80eJ6Rvyym8TeMozi9dB7UtFTnHB2q8ztiZ\
    wpNkPJAg";
