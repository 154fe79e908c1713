//! The OpenAPI document, made from [`OPERATIONS`] and [`STATUSES`].

use super::operation::{FieldKind, Kind, OPERATIONS, Operation, Parameter, Shape};
use super::status::STATUSES;
use serde_json::{Value, json};
use utoipa::openapi::content::{Content, ContentBuilder};
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{
    HttpMethod, OperationBuilder, ParameterBuilder, ParameterIn, PathItem, PathsBuilder,
};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{
    AdditionalProperties, ArrayBuilder, Object, ObjectBuilder, Schema, SchemaFormat, Type,
};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    ComponentsBuilder, InfoBuilder, OpenApi, OpenApiBuilder, Required, ResponseBuilder,
    ResponsesBuilder, ServerBuilder,
};

const TOKEN: &str = "token";
const FORM: &str = "application/x-www-form-urlencoded";

/// The document as JSON, indented.
#[must_use]
pub fn document() -> String {
    // Serialising what was just built cannot fail; an empty document would be seen by every test.
    openapi().to_pretty_json().unwrap_or_default()
}

/// The document.
#[must_use]
pub fn openapi() -> OpenApi {
    let mut paths = PathsBuilder::new();
    for operation in OPERATIONS {
        let item = PathItem::new(HttpMethod::Post, described(operation));
        paths = paths.path(operation.path(), item);
    }
    let bearer = Http::new(HttpAuthScheme::Bearer);
    let components = ComponentsBuilder::new()
        .security_scheme(TOKEN, SecurityScheme::Http(bearer))
        .build();
    let info = InfoBuilder::new()
        .title("leasebridge voice API")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "Temporary phone numbers over HTTP. Every scalar of an answer is a string but `status`; \
             on failure an operation's own members are there and empty. One credit is $0.0001.",
        ))
        .build();
    OpenApiBuilder::new()
        .info(info)
        .servers(Some([
            ServerBuilder::new().url("/").build(),
            ServerBuilder::new().url("/axiata").build(),
        ]))
        .paths(paths.build())
        .components(Some(components))
        .security(Some([SecurityRequirement::new(
            TOKEN,
            Vec::<String>::new(),
        )]))
        .build()
}

fn described(operation: &Operation) -> utoipa::openapi::path::Operation {
    let mut builder = OperationBuilder::new()
        .tag(operation.group)
        .operation_id(Some(format!("{}_{}", operation.group, operation.name)))
        .summary(Some(operation.summary))
        .description(Some(format!(
            "Needs the scope `{}`.",
            operation.scope.name()
        )))
        .request_body(Some(
            RequestBodyBuilder::new()
                .content(FORM, Content::new(Some(form(operation))))
                .required(Some(Required::True))
                .build(),
        ));
    if operation.changes {
        builder = builder.parameter(
            ParameterBuilder::new()
                .name("Idempotency-Key")
                .parameter_in(ParameterIn::Header)
                .required(Required::False)
                .description(Some(
                    "1 to 255 visible characters: the first final answer is kept for 24 hours and \
                     given again to the same parameters, in any order; empty ones count as absent.",
                ))
                .schema(Some(ObjectBuilder::new().schema_type(Type::String).build())),
        );
    }
    let mut responses = ResponsesBuilder::new();
    let mut statuses: Vec<u16> = STATUSES.iter().map(|row| row.http).collect();
    statuses.extend([405, 413, 415]);
    statuses.sort_unstable();
    statuses.dedup();
    for http in statuses {
        responses = responses.response(http.to_string(), response(operation, http));
    }
    builder.responses(responses.build()).build()
}

fn form(operation: &Operation) -> Schema {
    let mut form = ObjectBuilder::new().schema_type(Type::Object);
    for parameter in operation.parameters {
        form = form.property(parameter.name, parameter_schema(parameter));
        if parameter.required {
            form = form.required(parameter.name);
        }
    }
    for (name, text) in [
        (
            "ts",
            "Unix seconds, within 300 of ours; where the client signs its requests.",
        ),
        (
            "sign",
            "HMAC-SHA256 in lower-case hexadecimal; where the client signs its requests.",
        ),
    ] {
        let schema = ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some(text));
        form = form.property(name, schema.build());
    }
    form.build().into()
}

fn parameter_schema(parameter: &Parameter) -> Object {
    let schema = ObjectBuilder::new().description(Some(parameter.summary));
    match parameter.kind {
        Kind::Text => schema.schema_type(Type::String),
        Kind::Integer(i64::MIN) => schema.schema_type(Type::Integer),
        Kind::Integer(from) => schema.schema_type(Type::Integer).minimum(Some(from as f64)),
        Kind::Choice(words) => schema
            .schema_type(Type::String)
            .enum_values(Some(words.iter().copied())),
        Kind::Digits(from, to) => schema
            .schema_type(Type::String)
            .pattern(Some(format!("^[0-9]{{{from},{to}}}$"))),
        Kind::Uuid => schema
            .schema_type(Type::String)
            .format(Some(SchemaFormat::Custom("uuid".to_owned()))),
        Kind::Stamp => schema.schema_type(Type::String).pattern(Some(
            "^[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}$",
        )),
    }
    .build()
}

fn response(operation: &Operation, http: u16) -> utoipa::openapi::Response {
    let rows: Vec<_> = STATUSES
        .iter()
        .filter(|row| row.http == http || own_http(row.code).contains(&http))
        .collect();
    let text: Vec<String> = rows
        .iter()
        .map(|row| format!("{}: {}", row.code, row.description))
        .collect();
    let codes: Vec<Value> = rows.iter().map(|row| json!(row.code)).collect();
    let mut response = ResponseBuilder::new().description(text.join("\n"));
    if http == 200 && operation.shape == Shape::Export {
        let stream = || ObjectBuilder::new().schema_type(Type::String).build();
        return response
            .content("text/csv", Content::new(Some(stream())))
            .content("application/jsonl", Content::new(Some(stream())))
            .build();
    }
    if rows.iter().any(|row| row.retry_after > 0) {
        let seconds = ObjectBuilder::new().schema_type(Type::Integer).build();
        let header = HeaderBuilder::new()
            .schema(Some(seconds))
            .description(Some("Seconds."));
        response = response.header("Retry-After", header.build());
    }
    let content = ContentBuilder::new()
        .schema(Some(answer(operation, codes)))
        .build();
    response.content("application/json", content).build()
}

/// HTTP statuses that a code has besides its row's.
const fn own_http(code: u16) -> &'static [u16] {
    match code {
        2 => &[413, 415],
        3 => &[405],
        _ => &[],
    }
}

fn answer(operation: &Operation, codes: Vec<Value>) -> Schema {
    let string = || ObjectBuilder::new().schema_type(Type::String);
    let mut object = ObjectBuilder::new()
        .schema_type(Type::Object)
        .property(
            "status",
            ObjectBuilder::new()
                .schema_type(Type::Integer)
                .enum_values(Some(codes))
                .build(),
        )
        .required("status")
        .property("description", string().build())
        .required("description");
    for field in operation.shape.fields() {
        let schema: Schema = match field.kind {
            FieldKind::Text => string().build().into(),
            FieldKind::Object => ObjectBuilder::new()
                .schema_type(Type::Object)
                .additional_properties(Some(AdditionalProperties::RefOr(string().build().into())))
                .build()
                .into(),
            FieldKind::Texts => ArrayBuilder::new().items(string().build()).build().into(),
            FieldKind::Rows(members) => {
                let mut row = ObjectBuilder::new().schema_type(Type::Object);
                for member in members {
                    row = row.property(*member, string().build()).required(*member);
                }
                ArrayBuilder::new().items(row.build()).build().into()
            }
        };
        object = object.property(field.name, schema).required(field.name);
    }
    object.build().into()
}
