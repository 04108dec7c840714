#include "base/error.h"
enum nano_status nano_chat_template_create(nano_chat_template **out, const char *source, size_t num_bytes, struct nano_error *err)
{
    (void)source, (void)num_bytes;
    *out = NULL;
    return nano_error_set(err, NANO_ERR_UNSUPPORTED, "chat templates: not yet");
}
void nano_chat_template_destroy(nano_chat_template *chat_template) { (void)chat_template; }
void nano_chat_template_get_info(const nano_chat_template *chat_template, struct nano_chat_template_info *out)
{ (void)chat_template; *out = (struct nano_chat_template_info){0}; }
struct nano_chat_render_params nano_chat_render_params_default(void)
{ return (struct nano_chat_render_params){.add_generation_prompt = true}; }
enum nano_status nano_chat_template_render(const nano_chat_template *chat_template, const char *request_json, size_t json_bytes, const struct nano_chat_render_params *params, char **prompt, size_t *prompt_bytes, struct nano_error *err)
{
    (void)chat_template, (void)request_json, (void)json_bytes, (void)params, (void)prompt, (void)prompt_bytes;
    return nano_error_set(err, NANO_ERR_UNSUPPORTED, "chat templates: not yet");
}
enum nano_status nano_chat_parser_create(nano_chat_parser **out, const nano_chat_template *chat_template, const char *prompt, size_t prompt_bytes, struct nano_error *err)
{
    (void)chat_template, (void)prompt, (void)prompt_bytes;
    *out = NULL;
    return nano_error_set(err, NANO_ERR_UNSUPPORTED, "chat templates: not yet");
}
void nano_chat_parser_destroy(nano_chat_parser *parser) { (void)parser; }
enum nano_status nano_chat_parser_push(nano_chat_parser *parser, const char *text, size_t num_bytes, bool is_last, struct nano_chat_delta *out, struct nano_error *err)
{
    (void)parser, (void)text, (void)num_bytes, (void)is_last, (void)out;
    return nano_error_set(err, NANO_ERR_UNSUPPORTED, "chat templates: not yet");
}
