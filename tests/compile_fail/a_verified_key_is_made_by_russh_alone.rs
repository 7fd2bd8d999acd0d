use russh::server::VerifiedPublicKey;

fn forged<'a>(public_key: &'a ssh_key::PublicKey, algorithm: &'a ssh_key::Algorithm) -> VerifiedPublicKey<'a> {
    VerifiedPublicKey { public_key, algorithm }
}

fn main() {}
