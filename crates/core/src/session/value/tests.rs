use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use super::*;

pub(crate) fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<u64>().prop_map(Value::UInt),
        (i64::MIN..0).prop_map(Value::Int),
        any::<u128>().prop_map(Value::BigUInt),
        any::<i128>().prop_map(Value::BigInt),
        (-1e300..1e300).prop_map(Value::Float),
        ".*".prop_map(Value::Str),
        any::<Vec<u8>>().prop_map(Value::Bytes),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::List),
            prop::collection::vec((inner.clone(), inner.clone()), 0..4).prop_map(Value::Map),
            prop::collection::vec(("[a-c]{0,2}".prop_map(Value::Str), inner.clone()), 0..4)
                .prop_map(Value::Map),
            inner.prop_map(|value| Value::Some(Box::new(value))),
        ]
    })
    // Numbers and options are written in their one shortest kind.
    .prop_map(|value| Value::from_serialize(&value, 32).unwrap())
}

fn round_trip<T>(value: T)
where
    T: Serialize + serde::de::DeserializeOwned + PartialEq + fmt::Debug,
{
    let stored = Value::from_serialize(&value, 32).unwrap().encode();
    assert_eq!(Value::decode(&stored).unwrap().read::<T>().unwrap(), value);
}

fn stored<T: Serialize>(value: T) -> Value {
    Value::from_serialize(&value, 32).unwrap()
}

fn mismatch<T: serde::de::DeserializeOwned + fmt::Debug>(value: Value) -> String {
    let error = value.read::<T>().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Mismatch);
    error.to_string()
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Shape {
    Point,
    Circle(f32),
    Line(i8, i8),
    Box { wide: u16, tall: Option<u16> },
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind")]
enum Inside {
    A { x: u8 },
    B { y: String },
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Flat {
    id: u32,
    #[serde(flatten)]
    rest: BTreeMap<String, i64>,
}

#[test]
fn the_serde_data_model_comes_back_as_it_went() {
    round_trip((true, 'ß', "text".to_owned(), ()));
    round_trip((u8::MAX, i8::MIN, u64::MAX, i64::MIN));
    round_trip((
        u128::MAX,
        i128::MIN,
        0_i128,
        u128::from(u64::MAX) + 1,
        -1_i128,
    ));
    round_trip((f32::MIN_POSITIVE, f64::MAX, -0.0_f64, f64::INFINITY));
    round_trip(vec![Some(1), None]);
    round_trip([None, Some(None), Some(Some(None)), Some(Some(Some(7_u8)))]);
    round_trip((Some(()), None::<()>));
    round_trip(HashMap::from([
        (1_u32, "one".to_owned()),
        (2, "two".to_owned()),
    ]));
    round_trip([Shape::Point, Shape::Circle(0.1), Shape::Line(-1, 1)]);
    round_trip(Shape::Box {
        wide: 1,
        tall: Some(2),
    });
    round_trip([Inside::A { x: 1 }, Inside::B { y: "b".into() }]);
    round_trip(Flat {
        id: 1,
        rest: BTreeMap::from([("a".into(), -1)]),
    });
    round_trip(Vec::<u8>::new());
}

#[test]
fn another_type_is_a_typed_error_and_never_another_value() {
    mismatch::<String>(stored(5));
    mismatch::<u64>(stored("5"));
    mismatch::<u8>(stored(256));
    mismatch::<u8>(stored(-1));
    mismatch::<bool>(stored(1));
    mismatch::<i64>(stored(1.0));
    mismatch::<f32>(stored(0.1_f64));
    mismatch::<f32>(stored(1e300));
    mismatch::<f64>(stored(u64::MAX));
    mismatch::<(u8, u8)>(stored((1, 2, 3)));
    mismatch::<Vec<u8>>(stored(BTreeMap::from([(1, 2)])));
    mismatch::<Shape>(stored("Hexagon"));
    mismatch::<Shape>(stored("Circle"));
    mismatch::<Shape>(stored(7));
    mismatch::<u8>(Value::Null);
    assert_eq!(stored(3).read::<f64>().unwrap(), 3.0);
}

/// Serde's limit: what it buffers to find out the type holds no integer of 128 bits.
#[test]
fn an_integer_of_128_bits_that_serde_could_not_read_is_refused_where_it_can_be_seen() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Wide<T> {
        id: T,
    }
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Outer<T> {
        name: String,
        #[serde(flatten)]
        rest: T,
    }
    fn refused<T: Serialize>(value: T) -> String {
        let error = Value::from_serialize(&value, 32).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Mismatch);
        error.to_string()
    }
    fn outer<T>(rest: T) -> Outer<T> {
        let name = String::new();
        Outer { name, rest }
    }
    let said = refused(outer(Wide { id: u128::MAX }));
    assert!(
        said.contains("flatten") && said.contains("as text"),
        "{said}"
    );
    refused(outer(Wide { id: 1_u128 }));
    refused(outer(Wide { id: -1_i128 }));
    refused(outer(Wide {
        id: vec![Some(1_u128)],
    }));
    refused(outer(BTreeMap::from([("id", 1_u128)])));
    refused([outer(outer(Wide { id: 1_u128 }))]);

    round_trip(outer(Wide { id: u64::MAX }));
    round_trip((outer(Wide { id: 1_u8 }), u128::MAX));
    round_trip(Wide { id: u128::MAX });
    round_trip(BTreeMap::from([(u128::MAX, i128::MIN)]));

    // An untagged or internally tagged enum is serialised as any struct is, so these
    // are found when they are read.
    #[derive(Debug, Serialize, Deserialize)]
    #[serde(untagged)]
    enum Untagged {
        Number(u128),
    }
    mismatch::<Untagged>(stored(Untagged::Number(1)));
}

#[test]
fn an_error_does_not_quote_the_value() {
    for message in [
        mismatch::<u64>(stored("hunter2")),
        mismatch::<Shape>(stored("hunter2")),
        mismatch::<(u8,)>(stored(("hunter2", 1))),
        mismatch::<bool>(stored(31337)),
    ] {
        assert!(
            !message.contains("hunter2") && !message.contains("31337"),
            "{message}"
        );
    }
    assert_eq!(format!("{:?}", stored("hunter2")), "Value(text of 7 bytes)");
}

#[test]
fn a_struct_may_gain_and_lose_fields() {
    #[derive(Serialize)]
    struct Old {
        name: String,
        dropped: u8,
    }
    #[derive(Deserialize)]
    struct New {
        name: String,
        nickname: Option<String>,
        #[serde(default)]
        visits: u32,
    }
    let new: New = stored(Old {
        name: "Zoë".into(),
        dropped: 1,
    })
    .read()
    .unwrap();
    assert_eq!(
        (new.name.as_str(), new.nickname, new.visits),
        ("Zoë", None, 0)
    );
}

#[test]
fn a_value_that_nests_past_the_limit_is_refused_while_serialising() {
    #[derive(Serialize)]
    struct Chain(Option<Box<Chain>>, u8);
    let mut chain = Chain(None, 0);
    for _ in 0..100 {
        chain = Chain(Some(Box::new(chain)), 0);
    }
    let error = Value::from_serialize(&chain, 32).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
}

#[test]
fn what_serialises_within_the_limit_decodes_within_it() {
    #[derive(Serialize)]
    enum Nest {
        Leaf,
        In(Box<Nest>),
        Tuple(Box<Nest>, u8),
        Maybe { inner: Option<Box<Nest>> },
    }
    let mut written = 0;
    for levels in 0..20 {
        let mut nest = Nest::Leaf;
        for level in 0..levels {
            let inner = Box::new(nest);
            nest = match level % 3 {
                0 => Nest::In(inner),
                1 => Nest::Tuple(inner, 0),
                _ => Nest::Maybe { inner: Some(inner) },
            };
        }
        if let Ok(bytes) = encode(&nest, 16) {
            de::read::<PhantomData<Value>>(&bytes, 16, PhantomData).unwrap();
            written += 1;
        }
    }
    assert!((1..20).contains(&written), "{written}");
}

#[test]
fn a_value_stands_for_its_content_in_other_formats() {
    let value = stored((
        1,
        "two",
        [Some(3.5), None],
        BTreeMap::from([("k", Shape::Point)]),
    ));
    let json = serde_json::to_string(&value).unwrap();
    assert_eq!(json, r#"[1,"two",[3.5,null],{"k":"Point"}]"#);
    assert_eq!(serde_json::from_str::<Value>(&json).unwrap(), value);
    assert_eq!(Value::from_serialize(&value, 32).unwrap(), value);
    assert_eq!(value.clone().read::<Value>().unwrap(), value);
}

/// Every call that serde's derive makes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Model {
    Unit,
    Wide(u128, i128),
    Text(String),
    Letter(char),
    Float(f32),
    Items(Vec<Model>),
    Maybe(Option<Option<Box<Model>>>),
    Named(BTreeMap<String, Model>),
    Fields {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        left_out: Option<u8>,
        inner: (Box<Model>, bool, i64),
    },
}

fn any_model() -> impl Strategy<Value = Model> {
    let leaf = prop_oneof![
        Just(Model::Unit),
        any::<(u128, i128)>().prop_map(|(natural, whole)| Model::Wide(natural, whole)),
        any::<(u64, i64)>().prop_map(|(natural, whole)| Model::Wide(natural.into(), whole.into())),
        ".*".prop_map(Model::Text),
        any::<char>().prop_map(Model::Letter),
        (-1e30_f32..1e30).prop_map(Model::Float),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let boxed = inner.clone().prop_map(Box::new);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Model::Items),
            prop::option::of(prop::option::of(boxed.clone())).prop_map(Model::Maybe),
            prop::collection::btree_map(".*|[a-c]", inner, 0..4).prop_map(Model::Named),
            (any::<Option<u8>>(), (boxed, any::<bool>(), any::<i64>()))
                .prop_map(|(left_out, inner)| Model::Fields { left_out, inner }),
        ]
    })
}

/// What the serialiser announces need not be what comes.
#[test]
fn a_count_that_was_announced_wrong_is_put_right() {
    struct Odd(usize);
    impl Serialize for Odd {
        fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
            to.collect_seq((0..2 * self.0).filter(|number| number % 2 == 1))
        }
    }
    for count in [0, 1, 250, 251, 70_000] {
        let odd: Vec<usize> = (0..count).map(|index| 2 * index + 1).collect();
        let bytes = encode(&[Odd(count), Odd(1)], 32).unwrap();
        assert!(bytes == encode(&[odd, vec![1]], 32).unwrap(), "{count}");
    }
}

#[test]
fn a_key_is_a_name_whatever_its_type() {
    #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
    enum Key {
        X,
        Y(Box<Key>),
    }
    #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
    struct Wrapped(String);
    fn twice<K: Clone + Ord + fmt::Debug + Serialize + serde::de::DeserializeOwned>(key: K) {
        let maps = vec![BTreeMap::from([(key, 1)]); 2];
        let bytes = encode(&maps, 32).unwrap();
        assert_eq!(bytes, b"\xc2\xe1\x81X\x41\xe1\x20\x41");
        assert_eq!(Value::decode(&bytes).unwrap().encode(), bytes);
        assert_eq!(decode::<Vec<BTreeMap<K, u8>>>(&bytes).unwrap(), maps);
    }
    twice("X".to_owned());
    twice('X');
    twice(Key::X);
    twice(Some("X".to_owned()));
    twice(Wrapped("X".to_owned()));
    twice(Some(Wrapped("X".to_owned())));
    // A name within a key: the variant with content is a map, and what it holds is no key.
    let key = Key::Y(Box::new(Key::Y(Box::new(Key::X))));
    let maps = vec![BTreeMap::from([('Z', 1)]); 2];
    let nested = BTreeMap::from([(key, maps)]);
    let bytes = encode(&nested, 32).unwrap();
    let expected = b"\xe1\xe1\x81Y\xe1\x20\x81X\xc2\xe1\x81Z\x41\xe1\x21\x41";
    assert_eq!(bytes, expected);
    let read = decode::<BTreeMap<Key, Vec<BTreeMap<char, u8>>>>(&bytes);
    assert_eq!(read.unwrap(), nested);
    assert_eq!(Value::decode(&bytes).unwrap().encode(), bytes);
}

/// Where its names stand is put right as well.
#[test]
fn a_count_that_was_announced_wrong_moves_the_names_behind_it() {
    struct Odd<'a>(&'a BTreeMap<String, BTreeMap<String, u8>>, Option<usize>);
    impl Serialize for Odd<'_> {
        fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
            use serde::ser::SerializeMap as _;
            let mut map = to.serialize_map(self.1)?;
            for (name, inner) in self.0 {
                map.serialize_entry(name, inner)?;
            }
            map.end()
        }
    }
    for count in [0, 1, 31, 32, 250, 251] {
        let inner = BTreeMap::from([("inner".to_owned(), 7)]);
        let odd = (0..count).map(|index| (index.to_string(), inner.clone()));
        let odd: BTreeMap<_, _> = odd.collect();
        let bytes = encode(&[&odd, &odd], 32).unwrap();
        for announced in [None, Some(0), Some(31), Some(32), Some(251)] {
            let (first, second) = (Odd(&odd, announced), Odd(&odd, announced));
            let ours = encode(&[first, second], 32).unwrap();
            assert!(ours == bytes, "{count}, announced as {announced:?}");
        }
    }
}

#[test]
fn a_name_in_what_fails_and_is_passed_over_has_no_number() {
    #[derive(Serialize)]
    struct Named {
        name: Depth,
    }
    struct Depth(usize);
    impl Serialize for Depth {
        fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
            match self.0 {
                0 => to.serialize_unit(),
                more => to.serialize_some(&Depth(more - 1)),
            }
        }
    }
    struct Goes;
    impl Serialize for Goes {
        fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
            use serde::ser::SerializeSeq as _;
            let mut list = to.serialize_seq(Some(2))?;
            assert!(list.serialize_element(&Named { name: Depth(64) }).is_err());
            list.serialize_element(&Named { name: Depth(0) })?;
            list.end()
        }
    }
    let bytes = encode(&Goes, 32).unwrap();
    assert_eq!(bytes, encode(&[Named { name: Depth(0) }], 32).unwrap());
    assert_eq!(bytes, b"\xc1\xe1\x84name\x00");
}

#[test]
fn what_fails_and_is_passed_over_leaves_nothing_behind() {
    struct Fails;
    impl Serialize for Fails {
        fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
            use serde::ser::SerializeMap as _;
            let mut map = to.serialize_map(Some(2))?;
            assert!(map.serialize_value(&1).is_err());
            map.serialize_key("half")?;
            map.end()
        }
    }
    struct Goes;
    impl Serialize for Goes {
        fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
            use serde::ser::SerializeSeq as _;
            let mut list = to.serialize_seq(Some(2))?;
            let _ = list.serialize_element(&("cut", Fails));
            list.serialize_element("whole")?;
            list.end()
        }
    }
    assert_eq!(stored(Goes).display().to_string(), r#"["whole"]"#);
}

proptest! {
    #[test]
    fn a_type_and_its_value_have_the_same_bytes_and_read_the_same(model in any_model()) {
        let bytes = encode(&model, 64).unwrap();
        let value = Value::decode(&bytes).unwrap();
        prop_assert_eq!(&value.encode(), &bytes);
        prop_assert_eq!(&decode::<Model>(&bytes).unwrap(), &model);
        prop_assert_eq!(&value.read::<Model>().unwrap(), &model);
    }

    #[test]
    fn damaged_bytes_read_as_a_type_what_they_read_as_a_value(
        model in any_model(),
        at: prop::sample::Index,
        to: u8,
    ) {
        let mut bytes = encode(&model, 64).unwrap();
        let at = at.index(bytes.len());
        prop_assert!(decode::<Model>(&bytes[..at]).is_err());
        bytes[at] = to;
        let by_value = Value::decode(&bytes).and_then(Value::read::<Model>);
        // Not an equality of models: a damaged float may be no number.
        prop_assert_eq!(
            decode::<Model>(&bytes).map(|model| encode(&model, 64).unwrap()).ok(),
            by_value.map(|model| encode(&model, 64).unwrap()).ok()
        );
    }

    #[test]
    fn a_value_put_into_a_session_as_itself_comes_back(value in any_value()) {
        prop_assert_eq!(&Value::from_serialize(&value, 32).unwrap(), &value);
        prop_assert_eq!(value.clone().read::<Value>().unwrap(), value);
    }
}

#[test]
fn an_operator_reads_it_without_the_type() {
    let value = stored((
        Shape::Box {
            wide: 3,
            tall: None,
        },
        "a \"b\"",
        1.5,
        [Some(())],
    ));
    assert_eq!(
        value.display().to_string(),
        r#"[{"Box": {"wide": 3, "tall": null}}, "a \"b\"", 1.5, [some(null)]]"#
    );
    assert_eq!(Value::Bytes(vec![0, 255]).display().to_string(), "0x00ff");
}
