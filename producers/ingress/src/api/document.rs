//! From calls to an OpenAPI 3.1 document.

use super::{
    about::{About, Answer, Body, Parameter, Place},
    headers::{self, AnswerHeader},
    shape::{self, Shape},
};
use crate::{
    problem::{Kind, MEDIA_TYPE, Problem},
    surface::{Access, Declared},
};
use axum::http::Method;
use std::collections::BTreeMap;
use utoipa::openapi::{
    ComponentsBuilder, Content, ContentBuilder, HeaderBuilder, InfoBuilder, OpenApi, OpenApiBuilder, Ref,
    RefOr, Required, Response, ResponseBuilder, Schema,
    example::ExampleBuilder,
    path::{HttpMethod, Operation, OperationBuilder, ParameterBuilder, ParameterIn, Paths},
    request_body::RequestBodyBuilder,
    security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
};

/// The security scheme of guarded calls.
pub const BEARER: &str = "bearer";

/// The document of these calls, under that title and description.
#[must_use]
pub fn open_api(title: &str, description: &str, calls: &[Declared]) -> OpenApi {
    let mut told = Told::default();
    for call in calls {
        let operation = told.operation(call);
        told.paths.add_path_operation(call.path, vec![method(&call.method)], operation);
    }
    told.document(title, description)
}

/// What has been told so far.
#[derive(Default)]
struct Told {
    paths: Paths,
    schemas: BTreeMap<String, RefOr<Schema>>,
    refusals: BTreeMap<String, Response>,
}

impl Told {
    fn document(self, title: &str, description: &str) -> OpenApi {
        let info = InfoBuilder::new()
            .title(title)
            .description(Some(description))
            .version(env!("CARGO_PKG_VERSION"))
            .license(Some(utoipa::openapi::License::new("MIT OR Apache-2.0")));
        let bearer =
            HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").description(Some(
                "A JWT of the issuer that this deployment believes. Its `scope` claim names what it allows.",
            ));
        let components = ComponentsBuilder::new()
            .schemas_from_iter(self.schemas)
            .responses_from_iter(self.refusals)
            .security_scheme(BEARER, SecurityScheme::Http(bearer.build()));
        let document = OpenApiBuilder::new().info(info).paths(self.paths);
        document.components(Some(components.build())).build()
    }

    fn operation(&mut self, call: &Declared) -> Operation {
        let about = with_guard(call);
        let mut operation = OperationBuilder::new()
            .tag(tag(call.path))
            .operation_id(Some(about.id))
            .summary(Some(about.summary))
            .description(about.description.clone())
            .securities(Some(security(call.access)));
        for parameter in &about.parameters {
            operation = operation.parameter(self.parameter(parameter));
        }
        if let Some(body) = &about.body {
            operation = operation.request_body(Some(self.body(body)));
        }
        for (status, response) in self.responses(&about) {
            operation = operation.response(status.to_string(), response);
        }
        operation.build()
    }

    fn schema(&mut self, shape: &Shape) -> RefOr<Schema> {
        self.schemas.extend(shape.named.clone());
        shape.schema.clone()
    }

    fn parameter(&mut self, parameter: &Parameter) -> ParameterBuilder {
        let place = match parameter.place {
            Place::Path => ParameterIn::Path,
            Place::Query => ParameterIn::Query,
            Place::Header => ParameterIn::Header,
        };
        let required = if parameter.required { Required::True } else { Required::False };
        ParameterBuilder::new()
            .name(parameter.name)
            .parameter_in(place)
            .required(required)
            .description(Some(&parameter.says))
            .schema(Some(self.schema(&parameter.shape)))
    }

    fn body(&mut self, body: &Body) -> utoipa::openapi::request_body::RequestBody {
        let required = if body.required { Required::True } else { Required::False };
        let content =
            Content::builder().schema(Some(self.schema(&body.shape))).example(Some(body.example.clone()));
        RequestBodyBuilder::new()
            .required(Some(required))
            .content("application/json", content.build())
            .build()
    }

    /// Answers and refusals by status: problems that share one are its examples.
    fn responses(&mut self, about: &About) -> BTreeMap<u16, RefOr<Response>> {
        let mut responses: BTreeMap<u16, RefOr<Response>> =
            about.answers.iter().map(|(status, answer)| (*status, self.answer(answer).into())).collect();
        let mut refusals: BTreeMap<u16, Vec<Kind>> = BTreeMap::new();
        for kind in &about.refusals {
            refusals.entry(kind.status().as_u16()).or_default().push(*kind);
        }
        responses.extend(refusals.into_iter().map(|(status, kinds)| (status, self.refusal(&kinds))));
        responses
    }

    /// Told once, under a name made of theirs.
    fn refusal(&mut self, kinds: &[Kind]) -> RefOr<Response> {
        let name = kinds.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(".");
        if !self.refusals.contains_key(&name) {
            let told = self.refusal_of(kinds);
            self.refusals.insert(name.clone(), told);
        }
        RefOr::Ref(Ref::from_response_name(name))
    }

    fn answer(&mut self, answer: &Answer) -> Response {
        let mut response = ResponseBuilder::new().description(answer.says);
        for header in answer.headers.iter().cloned().chain(headers::on_every_answer()) {
            response = self.with_header(response, header);
        }
        if let Some((media_type, shape, example)) = &answer.content {
            let content = Content::builder().schema(Some(self.schema(shape))).example(Some(example.clone()));
            response = response.content(*media_type, content.build());
        }
        response.build()
    }

    fn refusal_of(&mut self, kinds: &[Kind]) -> Response {
        let titles: Vec<&str> = kinds.iter().map(|kind| kind.title()).collect();
        let mut content: ContentBuilder = Content::builder().schema(Some(self.schema(&shape::problem())));
        let examples = kinds.iter().map(|kind| {
            let body = serde_json::to_value(Problem::example(*kind).body()).unwrap_or_default();
            (kind.name(), ExampleBuilder::new().summary(kind.title()).value(Some(body)))
        });
        content = content.examples_from_iter(examples);
        let mut response =
            ResponseBuilder::new().description(titles.join(", or: ")).content(MEDIA_TYPE, content.build());
        for header in headers::on_every_answer() {
            response = self.with_header(response, header);
        }
        if kinds.iter().any(|kind| kind.comes_again()) {
            response = self.with_header(response, headers::retry_after());
        }
        if kinds.iter().any(|kind| matches!(kind, Kind::Unauthenticated | Kind::Forbidden)) {
            response = self.with_header(response, headers::challenge());
        }
        response.build()
    }

    fn with_header(
        &mut self,
        response: ResponseBuilder,
        (name, says, shape): AnswerHeader,
    ) -> ResponseBuilder {
        let schema = self.schema(&shape);
        response.header(name, HeaderBuilder::new().schema(Some(schema)).description(Some(says)).build())
    }
}

/// The service's part of a path, as `orders` of `/api/orders/{id}`.
fn tag(path: &str) -> &str {
    path.strip_prefix("/api/").and_then(|rest| rest.split('/').next()).unwrap_or("documents")
}

fn with_guard(call: &Declared) -> About {
    let about = call.about.clone();
    match call.access {
        Access::Signed => about,
        // a token that is sent has to hold
        Access::Public | Access::Caller => about.refuses(&[Kind::Unauthenticated]),
        Access::Scope(_) => about.refuses(&[Kind::Unauthenticated, Kind::Forbidden]),
    }
}

fn security(access: Access) -> Vec<SecurityRequirement> {
    let bearer = || SecurityRequirement::new::<_, [&str; 0], &str>(BEARER, []);
    match access {
        Access::Signed => Vec::new(),
        Access::Public => vec![SecurityRequirement::default(), bearer()],
        Access::Caller => vec![bearer()],
        Access::Scope(scope) => vec![SecurityRequirement::new(BEARER, [scope])],
    }
}

fn method(method: &Method) -> HttpMethod {
    match *method {
        Method::POST => HttpMethod::Post,
        Method::PUT => HttpMethod::Put,
        Method::PATCH => HttpMethod::Patch,
        Method::DELETE => HttpMethod::Delete,
        _ => HttpMethod::Get,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::surface::{Rule, Surface};
    use axum::http::StatusCode;
    use serde_json::{Value, json};

    fn document() -> Value {
        let about = |id| {
            let answer = Answer::json("Done.", shape::object().must("a", shape::uuid()), json!({"a": "x"}));
            About::of(id, "A thing").answers(StatusCode::OK, answer)
        };
        let surface = Surface::<()>::new()
            .get("/api/things", Rule::public(), async || "", about("open"))
            .post("/api/things", Rule::signed(), async || "", about("signed"))
            .put("/api/things", Rule::caller(), async || "", about("own"))
            .delete("/api/things", Rule::scope("things:write"), async || "", about("scoped"));
        serde_json::to_value(open_api("Things", "All of them", surface.declared())).unwrap()
    }

    #[test]
    fn it_tells_what_the_rule_asks_for() {
        let document = document();
        assert_eq!(document["openapi"], "3.1.0");
        let calls = &document["paths"]["/api/things"];
        assert_eq!(calls["get"]["tags"], json!(["things"]));
        assert_eq!(calls["get"]["security"], json!([{}, { "bearer": [] }]));
        assert_eq!(calls["post"]["security"], json!([]));
        assert_eq!(calls["put"]["security"], json!([{ "bearer": [] }]));
        assert_eq!(calls["delete"]["security"], json!([{ "bearer": ["things:write"] }]));
        let statuses = |method: &str| -> Vec<String> {
            calls[method]["responses"].as_object().unwrap().keys().cloned().collect()
        };
        assert_eq!(statuses("post"), ["200", "429", "500", "503"]);
        assert_eq!(statuses("put"), ["200", "401", "429", "500", "503"]);
        assert_eq!(statuses("delete"), ["200", "401", "403", "429", "500", "503"]);
    }

    #[test]
    fn a_refusal_tells_its_problems_and_their_headers() {
        let document = document();
        let away = &document["paths"]["/api/things"]["delete"]["responses"]["503"]["$ref"];
        assert_eq!(away, "#/components/responses/unavailable");
        let responses = &document["components"]["responses"];
        assert!(responses["unavailable"]["headers"]["Retry-After"].is_object(), "{responses}");
        assert!(responses["unauthenticated"]["headers"]["WWW-Authenticate"].is_object(), "{responses}");
        let away = &responses["unavailable"]["content"]["application/problem+json"]["examples"]["unavailable"]
            ["value"];
        assert_eq!(away["type"], Kind::Unavailable.urn());
    }
}
