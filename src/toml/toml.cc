/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tomlplusplus behind a C function. Exceptions are off: its parser then returns a result.
 */
#define TOML_EXCEPTIONS 0
#define TOML_HEADER_ONLY 1
#define TOML_ENABLE_FORMATTERS 0
#include <toml++/toml.h>

#include "toml/toml.h"
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

namespace
{

void print_string(std::string &out, std::string_view s)
{
    char code[8];
    out += '"';
    for (char c : s) {
        if (c == '"' || c == '\\') {
            out += '\\';
            out += c;
        } else if (static_cast<unsigned char>(c) < 0x20) {
            std::snprintf(code, sizeof(code), "\\u%04x", static_cast<unsigned>(c));
            out += code;
        } else {
            out += c;
        }
    }
    out += '"';
}

void print_number(std::string &out, double value)
{
    char digits[40];
    if (!std::isfinite(value)) { /* JSON has no such numbers: the reader refuses the string by name */
        out += std::isnan(value) ? "\"nan\"" : value > 0 ? "\"inf\"" : "\"-inf\"";
        return;
    }
    for (int precision = 15; precision <= 17; precision++) { /* the shortest that reads back the same */
        std::snprintf(digits, sizeof(digits), "%.*g", precision, value);
        if (std::strtod(digits, nullptr) == value)
            break;
    }
    std::string_view text(digits);
    out += text;
    if (text.find_first_of(".e") == text.npos)
        out += ".0";
}

void two(std::string &out, unsigned value, int width)
{
    char digits[12];
    std::snprintf(digits, sizeof(digits), "%0*u", width, value);
    out += digits;
}

void print_date(std::string &out, const toml::date &date)
{
    two(out, date.year, 4);
    out += '-';
    two(out, date.month, 2);
    out += '-';
    two(out, date.day, 2);
}

void print_time(std::string &out, const toml::time &time)
{
    two(out, time.hour, 2);
    out += ':';
    two(out, time.minute, 2);
    out += ':';
    two(out, time.second, 2);
    if (time.nanosecond) {
        out += '.';
        two(out, time.nanosecond, 9);
    }
}

void print_date_time(std::string &out, const toml::date_time &when)
{
    print_date(out, when.date);
    out += 'T';
    print_time(out, when.time);
    if (!when.offset)
        return;
    int minutes = when.offset->minutes;
    if (minutes == 0) {
        out += 'Z';
        return;
    }
    out += minutes < 0 ? '-' : '+';
    two(out, static_cast<unsigned>(std::abs(minutes)) / 60, 2);
    out += ':';
    two(out, static_cast<unsigned>(std::abs(minutes)) % 60, 2);
}

void print_node(std::string &out, const toml::node &node)
{
    if (auto *table = node.as_table()) {
        const char *comma = "";
        out += '{';
        for (auto &&[key, value] : *table) {
            out += comma;
            print_string(out, key.str());
            out += ':';
            print_node(out, value);
            comma = ",";
        }
        out += '}';
    } else if (auto *array = node.as_array()) {
        const char *comma = "";
        out += '[';
        for (auto &&value : *array) {
            out += comma;
            print_node(out, value);
            comma = ",";
        }
        out += ']';
    } else if (auto *s = node.as_string()) {
        print_string(out, s->get());
    } else if (auto *i = node.as_integer()) {
        out += std::to_string(i->get());
    } else if (auto *f = node.as_floating_point()) {
        print_number(out, f->get());
    } else if (auto *b = node.as_boolean()) {
        out += b->get() ? "true" : "false";
    } else {
        out += '"';
        if (auto *d = node.as_date())
            print_date(out, d->get());
        else if (auto *t = node.as_time())
            print_time(out, t->get());
        else if (auto *dt = node.as_date_time())
            print_date_time(out, dt->get());
        out += '"';
    }
}

} // namespace

extern "C" int toml_to_json(const char *text, size_t length, char **ret_json, char ret_message[TOML_MESSAGE])
{
    toml::parse_result result = toml::parse(std::string_view(text, length));
    if (!result) {
        std::string_view what = result.error().description();
        std::snprintf(ret_message, TOML_MESSAGE, "line %u: %.*s", static_cast<unsigned>(result.error().source().begin.line),
                      static_cast<int>(what.size()), what.data());
        return -EINVAL;
    }
    std::string out;
    print_node(out, result.table());
    char *json = static_cast<char *>(std::malloc(out.size() + 1));
    if (!json)
        return -ENOMEM;
    std::memcpy(json, out.c_str(), out.size() + 1);
    *ret_json = json;
    return 0;
}

/* Keys may have dots in them (hosts): at each table the one counts that the rest of the path begins with. */
extern "C" unsigned toml_line(const char *text, size_t length, const char *path)
{
    toml::parse_result result = toml::parse(std::string_view(text, length));
    if (!result)
        return static_cast<unsigned>(result.error().source().begin.line);
    const toml::node *node = &result.table();
    std::string_view rest(path);
    unsigned line = 0;
    while (const toml::table *table = node->as_table()) {
        const toml::node *next = nullptr;
        size_t taken = 0;
        for (auto &&[key, value] : *table) {
            std::string_view name = key.str();
            bool whole = rest.size() == name.size() || (rest.size() > name.size() && (rest[name.size()] == '.' || rest[name.size()] == '['));
            if (!whole || rest.substr(0, name.size()) != name || (next && name.size() <= taken))
                continue;
            next = &value;
            taken = name.size();
            line = static_cast<unsigned>(key.source().begin.line);
        }
        if (!next || taken == rest.size() || rest[taken] == '[')
            break;
        rest.remove_prefix(taken + 1);
        node = next;
    }
    return line;
}
