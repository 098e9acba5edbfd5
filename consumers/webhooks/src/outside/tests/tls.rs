//! A delivery over TLS: taken by who can show a certificate for the name that was called, and by nobody else.

use super::{config, letter, meaning_to};
use crate::outside::Reply;
use openssl::{
    asn1::Asn1Time,
    bn::BigNum,
    ec::{EcGroup, EcKey},
    error::ErrorStack,
    hash::MessageDigest,
    nid::Nid,
    pkey::{PKey, Private},
    ssl::{SslAcceptor, SslMethod},
    x509::{
        X509, X509NameBuilder,
        extension::{BasicConstraints, SubjectAlternativeName},
    },
};
use reqwest::Certificate;
use std::{
    io::{Read, Write},
    net::TcpListener,
    thread::{self, JoinHandle},
};

/// A certificate for `name`, signed by itself.
fn certificate(name: &str) -> Result<(X509, PKey<Private>), ErrorStack> {
    let key = PKey::from_ec_key(EcKey::generate(&*EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?)?)?;
    let mut subject = X509NameBuilder::new()?;
    subject.append_entry_by_text("CN", name)?;
    let subject = subject.build();
    let mut made = X509::builder()?;
    made.set_version(2)?;
    made.set_serial_number(&*BigNum::from_u32(1)?.to_asn1_integer()?)?;
    made.set_subject_name(&subject)?;
    made.set_issuer_name(&subject)?;
    made.set_not_before(&*Asn1Time::days_from_now(0)?)?;
    made.set_not_after(&*Asn1Time::days_from_now(1)?)?;
    made.set_pubkey(&key)?;
    made.append_extension(BasicConstraints::new().critical().ca().build()?)?;
    let names = SubjectAlternativeName::new().dns(name).build(&made.x509v3_context(None, None))?;
    made.append_extension(names)?;
    made.sign(&key, MessageDigest::sha256())?;
    Ok((made.build(), key))
}

/// Takes one request over TLS, after however many that shake no hands, and answers 200; what it was sent.
fn receiver(certificate: &X509, key: &PKey<Private>) -> (u16, JoinHandle<String>) {
    let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls()).unwrap();
    acceptor.set_certificate(certificate).unwrap();
    acceptor.set_private_key(key).unwrap();
    let acceptor = acceptor.build();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let taken = thread::spawn(move || {
        let mut stream =
            listener.incoming().find_map(|stream| acceptor.accept(stream.unwrap()).ok()).unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n{}") {
            let mut bytes = [0; 4_096];
            let count = stream.read(&mut bytes).unwrap();
            assert!(count > 0, "it ended within: {}", String::from_utf8_lossy(&request));
            request.extend_from_slice(&bytes[..count]);
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
        String::from_utf8(request).unwrap()
    });
    (port, taken)
}

#[tokio::test]
async fn an_event_is_told_over_tls_to_who_proves_its_name_and_to_nobody_else() {
    let (certificate, key) = certificate("hooks.example").unwrap();
    let (port, taken) = receiver(&certificate, &key);
    let root = Certificate::from_pem(&certificate.to_pem().unwrap()).unwrap();
    let mut config = config(true);
    config.egress.ports = vec![port];
    let here = ["127.0.0.1"];
    let call = async |name: &str, roots: Vec<Certificate>| {
        let (outside, _) = meaning_to(&config, &here, roots);
        outside.send(letter(&format!("https://{name}:{port}/orders"))).await
    };
    let refused = Reply::Silent("it could not be connected to");
    assert_eq!(call("hooks.example", Vec::new()).await, refused, "nobody vouches for it");
    assert_eq!(call("other.example", vec![root.clone()]).await, refused, "it is somebody else");
    assert!(!taken.is_finished(), "an event went to somebody who did not prove its name");
    assert_eq!(call("hooks.example", vec![root]).await, Reply::Heard);
    let request = taken.join().unwrap();
    assert!(request.starts_with("POST /orders HTTP/1.1\r\n"), "{request}");
    for expected in ["mambogo-signature: s\r\n", "host: hooks.example:", "content-type: application/json\r\n"]
    {
        assert!(request.contains(expected), "{expected} is not in {request}");
    }
}
